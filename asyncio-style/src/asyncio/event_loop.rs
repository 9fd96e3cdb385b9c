//! The loop itself (`asyncio.base_events`): callbacks, timers, and descriptors that are watched.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode, Poller};

pub(super) type Call = Box<dyn FnOnce()>;
type ThreadCall = Box<dyn FnOnce(&EventLoop) + Send>;

/// A handle on the loop (`asyncio.AbstractEventLoop`); a clone is the same loop.
#[derive(Clone)]
pub struct EventLoop(pub(super) Rc<Inner>);

pub(super) struct Inner {
    poller: Arc<Poller>,
    ready: RefCell<VecDeque<(Rc<Cell<bool>>, Call)>>,
    timers: RefCell<BTreeMap<(Instant, u64), Call>>,
    next: Cell<u64>,
    sources: RefCell<HashMap<RawFd, Source>>,
    pub(super) tasks: RefCell<HashMap<u64, Rc<dyn Step>>>,
    stopping: Cell<bool>,
    calls: Cell<u64>,
    pub(super) steps: Cell<u64>,
    from_threads: Receiver<ThreadCall>,
    threadsafe: ThreadsafeHandle,
}

/// What is watched: whoever owns it shares it, so that it stays open while the poller has it.
struct Source {
    of: Rc<dyn AsFd>,
    reader: Option<Rc<dyn Fn()>>,
    writer: Option<Rc<dyn Fn()>>,
}

impl EventLoop {
    /// A loop that does not run yet (`asyncio.new_event_loop`).
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn new() -> io::Result<EventLoop> {
        let poller = Arc::new(Poller::new()?);
        let (sender, from_threads) = channel();
        let home = thread::current().id();
        let threadsafe = ThreadsafeHandle { sender, poller: Arc::clone(&poller), home };
        Ok(EventLoop(Rc::new(Inner {
            poller,
            ready: RefCell::default(),
            timers: RefCell::default(),
            next: Cell::new(0),
            sources: RefCell::default(),
            tasks: RefCell::default(),
            stopping: Cell::new(false),
            calls: Cell::new(0),
            steps: Cell::new(0),
            from_threads,
            threadsafe,
        })))
    }

    /// Calls `callback` in the next turn of the loop, in the order of these calls.
    pub fn call_soon(&self, callback: impl FnOnce() + 'static) -> Handle {
        let cancelled = Rc::new(Cell::new(false));
        self.0.ready.borrow_mut().push_back((Rc::clone(&cancelled), Box::new(callback)));
        Handle(cancelled)
    }

    /// Calls `callback` after `delay`.
    pub fn call_later(&self, delay: Duration, callback: impl FnOnce() + 'static) -> TimerHandle {
        self.call_at(Instant::now() + delay, callback)
    }

    /// Calls `callback` at `when`; of two at the same time the one asked for first.
    pub fn call_at(&self, when: Instant, callback: impl FnOnce() + 'static) -> TimerHandle {
        let key = (when, self.number());
        self.0.timers.borrow_mut().insert(key, Box::new(callback));
        TimerHandle { event_loop: self.clone(), key }
    }

    /// What other threads may have of this loop.
    pub fn threadsafe(&self) -> ThreadsafeHandle {
        self.0.threadsafe.clone()
    }

    /// Calls `callback` whenever `source` can be read, until it is removed.
    ///
    /// # Errors
    ///
    /// `source` is nothing one can wait for: a regular file.
    pub fn add_reader(
        &self,
        source: &Rc<impl AsFd + 'static>,
        callback: impl Fn() + 'static,
    ) -> io::Result<()> {
        self.watch(source, |watched| watched.reader = Some(Rc::new(callback)))
    }

    /// Calls `callback` whenever `source` can be written, until it is removed.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::add_reader`].
    pub fn add_writer(
        &self,
        source: &Rc<impl AsFd + 'static>,
        callback: impl Fn() + 'static,
    ) -> io::Result<()> {
        self.watch(source, |watched| watched.writer = Some(Rc::new(callback)))
    }

    /// Watches `source` for reading no more.
    pub fn remove_reader(&self, source: &impl AsFd) {
        self.unwatch(source.as_fd(), |watched| watched.reader = None);
    }

    /// Watches `source` for writing no more.
    pub fn remove_writer(&self, source: &impl AsFd) {
        self.unwatch(source.as_fd(), |watched| watched.writer = None);
    }

    /// Waits and calls back until [`EventLoop::stop`].
    pub fn run_forever(&self) {
        let mut events = Events::new();
        while !self.0.stopping.replace(false) {
            self.turn(&mut events);
        }
    }

    /// Has the loop end after the present turn.
    pub fn stop(&self) {
        self.0.stopping.set(true);
    }

    /// How many callbacks have been called, and how many of them were a task's next step.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.calls.get(), self.0.steps.get())
    }

    /// One turn (`BaseEventLoop._run_once`): wait, find what is due, then call what was ready
    /// when the turn began. What those calls ask for comes in the next turn.
    fn turn(&self, events: &mut Events) {
        self.take_calls();
        let timeout = if self.0.ready.borrow().is_empty() && !self.0.stopping.get() {
            let first = self.0.timers.borrow().first_key_value().map(|((when, _), _)| *when);
            first.map(|when| when.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        events.clear();
        self.0.poller.wait(events, timeout).expect("epoll_wait fails for bad arguments only");
        self.take_calls();
        for event in events.iter() {
            let sources = self.0.sources.borrow();
            let Some(source) = sources.get(&(event.key as RawFd)) else { continue };
            let reader = source.reader.clone().filter(|_| event.readable);
            let writer = source.writer.clone().filter(|_| event.writable);
            drop(sources);
            for callback in [reader, writer].into_iter().flatten() {
                self.call_soon(move || callback());
            }
        }
        let now = Instant::now();
        while let Some(timer) = self.0.timers.borrow_mut().first_entry() {
            if timer.key().0 > now {
                break;
            }
            self.0.ready.borrow_mut().push_back((Rc::default(), timer.remove()));
        }
        let turn = self.0.ready.borrow().len();
        for _ in 0..turn {
            let next = self.0.ready.borrow_mut().pop_front();
            if let Some((cancelled, callback)) = next
                && !cancelled.get()
            {
                self.0.calls.set(self.0.calls.get() + 1);
                callback();
            }
        }
    }

    /// Puts in line what other threads, and wake-ups, have asked for.
    fn take_calls(&self) {
        while let Ok(call) = self.0.from_threads.try_recv() {
            let event_loop = self.clone();
            self.call_soon(move || call(&event_loop));
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.0.next.replace(self.0.next.get() + 1)
    }

    fn watch(
        &self,
        source: &Rc<impl AsFd + 'static>,
        set: impl FnOnce(&mut Source),
    ) -> io::Result<()> {
        let fd = source.as_fd().as_raw_fd();
        let mut sources = self.0.sources.borrow_mut();
        let new = !sources.contains_key(&fd);
        let source = Rc::clone(source);
        let watched =
            sources.entry(fd).or_insert(Source { of: source, reader: None, writer: None });
        set(watched);
        let event = watched.event(fd);
        if new {
            let added = add(&self.0.poller, watched.of.as_fd(), event);
            return added.inspect_err(|_| drop(sources.remove(&fd)));
        }
        self.0.poller.modify_with_mode(watched.of.as_fd(), event, PollMode::Level)
    }

    fn unwatch(&self, source: BorrowedFd<'_>, unset: impl FnOnce(&mut Source)) {
        let fd = source.as_raw_fd();
        let mut sources = self.0.sources.borrow_mut();
        let Some(watched) = sources.get_mut(&fd) else { return };
        unset(watched);
        // Both succeed: what is in the table is open, and in the poller.
        if watched.reader.is_none() && watched.writer.is_none() {
            let _ = self.0.poller.delete(source);
            sources.remove(&fd);
        } else {
            let _ = self.0.poller.modify_with_mode(source, watched.event(fd), PollMode::Level);
        }
    }
}

#[expect(unsafe_code, reason = "the poller must forget a source before it is closed")]
fn add(poller: &Poller, source: BorrowedFd<'_>, event: Event) -> io::Result<()> {
    // SAFETY: the loop's table keeps the source open until `unwatch` has deleted it; when the
    // loop itself goes, its poller goes with it.
    unsafe { poller.add_with_mode(source.as_raw_fd(), event, PollMode::Level) }
}

impl Source {
    fn event(&self, fd: RawFd) -> Event {
        Event::new(fd as usize, self.reader.is_some(), self.writer.is_some())
    }
}

/// A call that is to come (`asyncio.Handle`).
pub struct Handle(Rc<Cell<bool>>);

impl Handle {
    /// Calls it off; too late, that does nothing.
    pub fn cancel(&self) {
        self.0.set(true);
    }
}

/// A call at a time (`asyncio.TimerHandle`).
pub struct TimerHandle {
    event_loop: EventLoop,
    key: (Instant, u64),
}

impl TimerHandle {
    /// Calls it off; too late, that does nothing.
    pub fn cancel(&self) {
        drop(self.event_loop.0.timers.borrow_mut().remove(&self.key));
    }
}

/// The only door into the loop from other threads.
#[derive(Clone)]
pub struct ThreadsafeHandle {
    pub(super) sender: Sender<ThreadCall>,
    pub(super) poller: Arc<Poller>,
    pub(super) home: ThreadId,
}

impl ThreadsafeHandle {
    /// Calls `callback` in the loop's thread, which is woken up for it.
    pub fn call_soon_threadsafe(&self, callback: impl FnOnce(&EventLoop) + Send + 'static) {
        // Both fail only when the loop is gone, and its callbacks with it.
        let _ = self.sender.send(Box::new(callback));
        let _ = self.poller.notify();
    }
}

/// A task as the loop knows it.
pub(super) trait Step {
    fn step(self: Rc<Self>, waker: &Waker);
}
