//! The watched descriptors and their events (`asyncio.selector_events`, `selectors`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

/// The descriptors that a loop watches, in level mode.
pub(super) struct Selector {
    pub(super) poller: Arc<Poller>,
    sources: RefCell<HashMap<RawFd, Source>>,
}

/// A watched descriptor. Its owner shares it, so that it stays open while the poller has it.
pub(super) struct Source {
    of: Rc<dyn AsFd>,
    reader: Option<Rc<Watcher>>,
    writer: Option<Rc<Watcher>>,
}

/// A callback to call whenever a source is ready.
pub(super) struct Watcher {
    callback: Box<dyn Fn()>,
    /// Set when it is removed: its call may already be queued.
    removed: Cell<bool>,
}

/// The reader or the writer of a source.
pub(super) type Side = fn(&mut Source) -> &mut Option<Rc<Watcher>>;

pub(super) const READER: Side = |source| &mut source.reader;
pub(super) const WRITER: Side = |source| &mut source.writer;

impl Selector {
    pub(super) fn new() -> io::Result<Selector> {
        Ok(Selector { poller: Arc::new(Poller::new()?), sources: RefCell::default() })
    }

    /// Waits until a source can be read or written. Returns the callbacks.
    pub(super) fn select(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<Vec<Rc<Watcher>>> {
        events.clear();
        self.poller.wait(events, timeout)?;
        let sources = self.sources.borrow();
        let mut watchers = Vec::new();
        for event in events.iter() {
            if let Some(source) = sources.get(&(event.key as RawFd)) {
                watchers.extend(source.reader.clone().filter(|_| event.readable));
                watchers.extend(source.writer.clone().filter(|_| event.writable));
            }
        }
        Ok(watchers)
    }

    pub(super) fn watch(
        &self,
        source: &Rc<impl AsFd + 'static>,
        side: Side,
        callback: Box<dyn Fn()>,
    ) -> io::Result<()> {
        let fd = source.as_fd().as_raw_fd();
        let watcher = Rc::new(Watcher { callback, removed: Cell::new(false) });
        let mut sources = self.sources.borrow_mut();
        let new = !sources.contains_key(&fd);
        let of = Rc::clone(source) as Rc<dyn AsFd>;
        let watched = sources.entry(fd).or_insert(Source { of, reader: None, writer: None });
        let replaced = side(watched).replace(watcher);
        let event = watched.event(fd);
        let result = if new {
            add(&self.poller, watched.of.as_fd(), event)
        } else {
            self.poller.modify_with_mode(watched.of.as_fd(), event, PollMode::Level)
        };
        let refused = if new && result.is_err() { sources.remove(&fd) } else { None };
        drop(sources);
        drop(refused);
        if let Some(watcher) = replaced {
            watcher.removed.set(true);
        }
        result
    }

    pub(super) fn unwatch(&self, source: BorrowedFd<'_>, side: Side) {
        let fd = source.as_raw_fd();
        let mut sources = self.sources.borrow_mut();
        let Some(watched) = sources.get_mut(&fd) else { return };
        let removed = side(watched).take();
        // Both succeed: a source in the table is open, and in the poller.
        let unwatched = if watched.reader.is_none() && watched.writer.is_none() {
            let _ = self.poller.delete(source);
            sources.remove(&fd)
        } else {
            let _ = self.poller.modify_with_mode(source, watched.event(fd), PollMode::Level);
            None
        };
        drop(sources);
        if let Some(watcher) = removed {
            watcher.removed.set(true);
        }
        drop(unwatched);
    }

    /// Stops watching all sources.
    pub(super) fn clear(&self) {
        for source in self.sources.take().into_values() {
            let _ = self.poller.delete(source.of.as_fd());
        }
    }
}

#[expect(unsafe_code, reason = "the poller must forget a source before it is closed")]
fn add(poller: &Poller, source: BorrowedFd<'_>, event: Event) -> io::Result<()> {
    // SAFETY: the table keeps the source open until `unwatch` or `clear` has deleted it from the
    // poller. The selector is dropped only after the loop was closed, which calls `clear`.
    unsafe { poller.add_with_mode(source.as_raw_fd(), event, PollMode::Level) }
}

impl Source {
    fn event(&self, fd: RawFd) -> Event {
        Event::new(fd as usize, self.reader.is_some(), self.writer.is_some())
    }
}

impl Watcher {
    pub(super) fn call(&self) {
        if !self.removed.get() {
            (self.callback)();
        }
    }
}
