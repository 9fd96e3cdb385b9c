//! The selector: the descriptors that the reactor watches, and for which events
//! (`twisted.internet.epollreactor`).
//!
//! Underneath is `epoll`, level-triggered as in Twisted, by way of the `polling` crate.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

/// An owner of a descriptor to watch: a listener, a connection, a reader.
pub(super) trait Source: AsFd {
    /// The descriptor is readable or writable. What is read may go into `buffer`.
    fn ready(self: Rc<Self>, event: Event, buffer: &mut [u8]);

    /// Does what was requested since the last call.
    fn settle(&self) {}

    /// The reactor has stopped, and no longer watches this.
    fn disconnect(&self) {}
}

/// The sources, each under its key. A source that is removed is closed when its last handle is
/// dropped.
pub(super) struct Selector {
    poller: Arc<Poller>,
    sources: RefCell<Vec<Option<Rc<dyn Source>>>>,
    /// Keys that can be used again.
    free: RefCell<Vec<usize>>,
    /// Keys that can be used again when all events of this turn have been handled.
    freed: RefCell<Vec<usize>>,
}

impl Selector {
    /// A selector that watches nothing yet.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub(super) fn new() -> io::Result<Selector> {
        Ok(Selector {
            poller: Arc::new(Poller::new()?),
            sources: RefCell::default(),
            free: RefCell::default(),
            freed: RefCell::default(),
        })
    }

    /// Waits until something is ready, for `timeout` at most.
    pub(super) fn wait(&self, events: &mut Events, timeout: Option<Duration>) {
        events.clear();
        let waited = self.poller.wait(events, timeout);
        waited.expect("epoll_wait fails only for a wrong descriptor or address");
    }

    /// A handle that wakes up [`wait`](Selector::wait) from another thread.
    pub(super) fn waker(&self) -> Waker {
        Waker(self.poller.clone())
    }

    /// A new key.
    pub(super) fn reserve(&self) -> usize {
        if let Some(key) = self.free.borrow_mut().pop() {
            return key;
        }
        let mut sources = self.sources.borrow_mut();
        sources.push(None);
        sources.len() - 1
    }

    /// Gives back a key that no source uses.
    pub(super) fn release(&self, key: usize) {
        self.freed.borrow_mut().push(key);
    }

    /// No event with an old key is left: all keys that were given back can be used again.
    pub(super) fn begin_turn(&self) {
        self.free.borrow_mut().append(&mut self.freed.borrow_mut());
    }

    pub(super) fn get(&self, key: usize) -> Option<Rc<dyn Source>> {
        self.sources.borrow().get(key).cloned().flatten()
    }

    /// Puts `source` under its key. It is not watched yet.
    pub(super) fn insert(&self, key: usize, source: Rc<dyn Source>) {
        if let Some(place) = self.sources.borrow_mut().get_mut(key) {
            *place = Some(source);
        }
    }

    /// Puts `source` under its key and watches whether it is readable.
    ///
    /// # Errors
    /// It cannot be watched: a regular file, or no memory left.
    pub(super) fn insert_reading(&self, key: usize, source: Rc<dyn Source>) -> io::Result<()> {
        self.watch(&*source, Event::readable(key)).inspect_err(|_| self.release(key))?;
        self.insert(key, source);
        Ok(())
    }

    /// Watches the source of this key no longer and removes it. `None` if there is no such source.
    pub(super) fn remove(&self, key: usize) -> Option<Rc<dyn Source>> {
        let source = self.sources.borrow_mut().get_mut(key)?.take()?;
        self.unwatch(&*source);
        self.release(key);
        Some(source)
    }

    /// Removes all sources.
    pub(super) fn remove_all(&self) -> Vec<Rc<dyn Source>> {
        let sources: Vec<_> = self.sources.take().into_iter().flatten().collect();
        self.free.borrow_mut().clear(); // these keys no longer exist
        self.freed.borrow_mut().clear();
        for source in &sources {
            self.unwatch(&**source);
        }
        sources
    }

    #[expect(unsafe_code, reason = "`polling` wants a promise about descriptors")]
    pub(super) fn watch(&self, source: &dyn Source, event: Event) -> io::Result<()> {
        let fd = source.as_fd().as_raw_fd();
        // SAFETY: the descriptor must be deleted from the poller before it is closed. `sources`
        // owns everything that is watched. `remove` and `remove_all` delete it when they take it
        // from there, and the reactor calls `remove_all` when it stops and when it is dropped.
        unsafe { self.poller.add_with_mode(fd, event, PollMode::Level) }
    }

    /// Changes the events that are watched for.
    pub(super) fn rewatch(&self, source: &dyn Source, event: Event) -> io::Result<()> {
        self.poller.modify_with_mode(source.as_fd(), event, PollMode::Level)
    }

    pub(super) fn unwatch(&self, source: &dyn Source) {
        // Fails only for a descriptor that is not watched.
        let _ = self.poller.delete(source.as_fd());
    }
}

/// Wakes up the reactor from another thread.
#[derive(Clone)]
pub(super) struct Waker(Arc<Poller>);

impl Waker {
    pub(super) fn wake(&self) {
        // Fails only if the poller's eventfd is broken; the reactor then sleeps to its next event.
        let _ = self.0.notify();
    }
}
