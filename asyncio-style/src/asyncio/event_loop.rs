//! The loop itself (`asyncio.base_events`): callbacks, timers, and watched descriptors.
//!
//! Callbacks and their destructors can be any code, and may use the loop again. So nothing is
//! called or dropped while a table of the loop is borrowed: it is taken out first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use polling::{Events, Poller};

use super::exceptions::{Exception, RuntimeError};
use super::selector::{READER, Selector, WRITER};

pub(super) type Call = Box<dyn FnOnce()>;
type ThreadCall = Box<dyn FnOnce(&EventLoop) + Send>;

const CLOSED: RuntimeError = RuntimeError("the event loop is closed");

/// The longest wait (`MAXIMUM_SELECT_TIMEOUT`); then there is a turn without work, and the next
/// wait.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// A delay that is too long for the clock ends after a hundred years instead.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);

thread_local! {
    /// The loops of this thread: a wake-up finds its loop here.
    static LOOPS: RefCell<HashMap<*const Mailbox, Weak<Inner>>> = RefCell::default();
    /// Whether one of them runs.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// An event loop (`asyncio.AbstractEventLoop`); a clone is the same loop. The value that `new`
/// returned closes the loop when it is dropped; a clone does not.
pub struct EventLoop {
    inner: Rc<Inner>,
    owner: bool,
}

struct Inner {
    mailbox: Arc<Mailbox>,
    ready: RefCell<VecDeque<Handle>>,
    timers: RefCell<BTreeMap<(Instant, u64), Handle>>,
    selector: Selector,
    tasks: RefCell<BTreeMap<u64, Rc<dyn Step>>>,
    /// Callbacks that free resources when the loop is closed.
    on_close: RefCell<BTreeMap<u64, Call>>,
    next: Cell<u64>,
    running: Cell<bool>,
    stopping: Cell<bool>,
    closed: Cell<bool>,
    calls: Cell<u64>,
    steps: Cell<u64>,
}

/// A task from the loop's point of view.
pub(super) trait Step {
    /// Runs it up to its next await.
    fn step(&self);
    fn cancel(&self);
}

impl EventLoop {
    /// A loop that does not run yet (`asyncio.new_event_loop`).
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn new() -> io::Result<EventLoop> {
        let selector = Selector::new()?;
        let mailbox = Arc::new(Mailbox {
            poller: Arc::clone(&selector.poller),
            calls: Mutex::new(Some(Vec::new())),
            home: thread::current().id(),
        });
        let inner = Rc::new(Inner {
            mailbox: Arc::clone(&mailbox),
            ready: RefCell::default(),
            timers: RefCell::default(),
            selector,
            tasks: RefCell::default(),
            on_close: RefCell::default(),
            next: Cell::new(0),
            running: Cell::new(false),
            stopping: Cell::new(false),
            closed: Cell::new(false),
            calls: Cell::new(0),
            steps: Cell::new(0),
        });
        let known = Rc::downgrade(&inner);
        LOOPS.with(|loops| loops.borrow_mut().insert(Arc::as_ptr(&mailbox), known));
        Ok(EventLoop { inner, owner: true })
    }

    /// Calls `callback` in the next turn of the loop, in the order of these calls. A closed loop
    /// drops it without calling it.
    pub fn call_soon(&self, callback: impl FnOnce() + 'static) -> Handle {
        let handle = Handle::new(callback);
        if self.is_closed() {
            handle.cancel();
        } else {
            self.inner.ready.borrow_mut().push_back(handle.clone());
        }
        handle
    }

    /// Calls `callback` after `delay`.
    pub fn call_later(&self, delay: Duration, callback: impl FnOnce() + 'static) -> TimerHandle {
        let now = Instant::now();
        self.call_at(now.checked_add(delay).unwrap_or(now + FOREVER), callback)
    }

    /// Calls `callback` at `when`. Calls at the same time are made in the order of the requests.
    pub fn call_at(&self, when: Instant, callback: impl FnOnce() + 'static) -> TimerHandle {
        let (key, handle) = ((when, self.number()), Handle::new(callback));
        if self.is_closed() {
            handle.cancel();
        } else {
            self.inner.timers.borrow_mut().insert(key, handle.clone());
        }
        TimerHandle { event_loop: self.clone(), key, handle }
    }

    /// The handle for other threads.
    pub fn threadsafe(&self) -> ThreadsafeHandle {
        ThreadsafeHandle(Arc::clone(&self.inner.mailbox))
    }

    /// Calls `callback` whenever `source` can be read, until it is removed.
    ///
    /// # Errors
    ///
    /// `source` cannot be polled: it is a regular file. Or the loop is closed.
    pub fn add_reader(
        &self,
        source: &Rc<impl AsFd + 'static>,
        callback: impl Fn() + 'static,
    ) -> io::Result<()> {
        self.check_open()?;
        self.inner.selector.watch(source, READER, Box::new(callback))
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
        self.check_open()?;
        self.inner.selector.watch(source, WRITER, Box::new(callback))
    }

    /// Stops watching `source` for reading.
    pub fn remove_reader(&self, source: &impl AsFd) {
        self.inner.selector.unwatch(source.as_fd(), READER);
    }

    /// Stops watching `source` for writing.
    pub fn remove_writer(&self, source: &impl AsFd) {
        self.inner.selector.unwatch(source.as_fd(), WRITER);
    }

    /// Waits and calls back until [`EventLoop::stop`]. Callbacks that are already ready are still
    /// called.
    ///
    /// # Errors
    ///
    /// This loop or another loop in this thread is running; or it is closed.
    pub fn run_forever(&self) -> Result<(), Exception> {
        let _running = self.begin_running()?;
        self.run()
    }

    /// Ends the loop after the current turn. Called before it runs, ends it after its first turn.
    pub fn stop(&self) {
        self.inner.stopping.set(true);
    }

    /// Closes the loop: cancels the pending tasks, drops all callbacks, and closes all its
    /// connections (`loop.close`, after the cancellations of `asyncio.run`).
    ///
    /// # Errors
    ///
    /// The loop runs.
    pub fn close(&self) -> Result<(), RuntimeError> {
        let inner = &self.inner;
        if inner.running.get() {
            return Err(RuntimeError("cannot close a running event loop"));
        }
        inner.closed.set(true);
        for task in inner.tasks.take().into_values() {
            task.cancel();
        }
        for (_, free) in inner.on_close.take() {
            free();
        }
        inner.selector.clear();
        drop((inner.ready.take(), inner.timers.take(), inner.mailbox.take(true)));
        Ok(())
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.get()
    }

    /// How many callbacks have been called, and how many of them were a task's next step.
    pub fn counts(&self) -> (u64, u64) {
        (self.inner.calls.get(), self.inner.steps.get())
    }

    fn check_open(&self) -> io::Result<()> {
        if self.is_closed() { Err(io::Error::other(CLOSED)) } else { Ok(()) }
    }

    pub(super) fn begin_running(&self) -> Result<Running<'_>, RuntimeError> {
        if self.is_closed() {
            return Err(CLOSED);
        }
        if self.inner.running.get() {
            return Err(RuntimeError("this event loop is already running"));
        }
        if RUNNING.replace(true) {
            return Err(RuntimeError("cannot run the event loop while another loop is running"));
        }
        self.inner.running.set(true);
        Ok(Running(&self.inner))
    }

    pub(super) fn run(&self) -> Result<(), Exception> {
        let mut events = Events::new();
        loop {
            self.turn(&mut events)?;
            if self.inner.stopping.get() {
                return Ok(());
            }
        }
    }

    /// One turn (`BaseEventLoop._run_once`): waits, finds what is due, then calls what is ready at
    /// that moment. Requests made by those calls come in the next turn.
    fn turn(&self, events: &mut Events) -> io::Result<()> {
        let inner = &self.inner;
        let timeout = if inner.ready.borrow().is_empty() && !inner.stopping.get() {
            let first = inner.timers.borrow().first_key_value().map(|((when, _), _)| *when);
            first.map(|when| when.saturating_duration_since(Instant::now()).min(LONGEST_WAIT))
        } else {
            Some(Duration::ZERO)
        };
        let watchers = inner.selector.select(events, timeout)?;
        for call in inner.mailbox.take(false) {
            let event_loop = self.clone();
            self.call_soon(move || call(&event_loop));
        }
        for watcher in watchers {
            self.call_soon(move || watcher.call());
        }
        let now = Instant::now();
        while let Some(timer) = inner.timers.borrow_mut().first_entry() {
            if timer.key().0 > now {
                break;
            }
            inner.ready.borrow_mut().push_back(timer.remove());
        }
        let in_line = inner.ready.borrow().len();
        for _ in 0..in_line {
            let next = inner.ready.borrow_mut().pop_front();
            if let Some(callback) = next.and_then(|handle| handle.0.take()) {
                inner.calls.set(inner.calls.get() + 1);
                callback();
            }
        }
        Ok(())
    }

    /// Numbers increase: later requests have higher ones.
    pub(super) fn number(&self) -> u64 {
        self.inner.next.replace(self.inner.next.get() + 1)
    }

    /// How many timers wait.
    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.inner.timers.borrow().len()
    }

    pub(super) fn add_task(&self, number: u64, task: Rc<dyn Step>) {
        self.inner.tasks.borrow_mut().insert(number, task);
    }

    pub(super) fn remove_task(&self, number: u64) {
        let task = self.inner.tasks.borrow_mut().remove(&number);
        drop(task);
    }

    /// Steps a task, unless it has already ended.
    pub(super) fn step(&self, number: u64) {
        let task = self.inner.tasks.borrow().get(&number).cloned();
        if let Some(task) = task {
            self.inner.steps.set(self.inner.steps.get() + 1);
            task.step();
        }
    }

    /// Calls `free` when the loop is closed; the number is for `forget`.
    pub(super) fn on_close(&self, free: impl FnOnce() + 'static) -> u64 {
        let number = self.number();
        self.inner.on_close.borrow_mut().insert(number, Box::new(free));
        number
    }

    pub(super) fn forget(&self, number: u64) {
        let free = self.inner.on_close.borrow_mut().remove(&number);
        drop(free);
    }
}

impl Clone for EventLoop {
    fn clone(&self) -> EventLoop {
        EventLoop { inner: Rc::clone(&self.inner), owner: false }
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        if self.owner {
            // It fails only inside one of its own callbacks, while a clone runs the loop.
            let _ = self.close();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error: the thread is ending, and its table is already gone.
        let _ = LOOPS.try_with(|loops| loops.borrow_mut().remove(&Arc::as_ptr(&self.mailbox)));
    }
}

/// The loop runs as long as this exists. A panic in a callback drops it too.
pub(super) struct Running<'a>(&'a Inner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.stopping.set(false);
        self.0.running.set(false);
        RUNNING.set(false);
    }
}

/// A future call (`asyncio.Handle`); empty after it was called or cancelled.
#[derive(Clone)]
pub struct Handle(Rc<RefCell<Option<Call>>>);

impl Handle {
    fn new(callback: impl FnOnce() + 'static) -> Handle {
        Handle(Rc::new(RefCell::new(Some(Box::new(callback)))))
    }

    /// Cancels the call and drops it. After the call this does nothing.
    pub fn cancel(&self) {
        drop(self.0.take());
    }
}

/// A call at a time (`asyncio.TimerHandle`).
pub struct TimerHandle {
    event_loop: EventLoop,
    key: (Instant, u64),
    handle: Handle,
}

impl TimerHandle {
    /// Cancels the call and drops it. After the call this does nothing.
    pub fn cancel(&self) {
        self.event_loop.inner.timers.borrow_mut().remove(&self.key);
        self.handle.cancel();
    }
}

/// The only way into the loop from other threads.
#[derive(Clone)]
pub struct ThreadsafeHandle(Arc<Mailbox>);

struct Mailbox {
    poller: Arc<Poller>,
    /// Requests of other threads since the last turn; `None` once the loop is closed.
    calls: Mutex<Option<Vec<ThreadCall>>>,
    home: ThreadId,
}

impl Mailbox {
    /// Takes all requests so far. Later ones wait for the next turn.
    fn take(&self, close: bool) -> Vec<ThreadCall> {
        let mut calls = self.calls.lock().expect("no holder panics");
        let empty = if close { None } else { Some(Vec::new()) };
        std::mem::replace(&mut *calls, empty).unwrap_or_default()
    }
}

impl ThreadsafeHandle {
    /// Wakes the loop, and calls `callback` in its thread.
    ///
    /// # Errors
    ///
    /// The loop is closed.
    pub fn call_soon_threadsafe(
        &self,
        callback: impl FnOnce(&EventLoop) + Send + 'static,
    ) -> Result<(), RuntimeError> {
        if let Some(event_loop) = self.at_home() {
            let handed = event_loop.clone();
            event_loop.call_soon(move || callback(&handed));
            return if event_loop.is_closed() { Err(CLOSED) } else { Ok(()) };
        }
        let mut calls = self.0.calls.lock().expect("no holder panics");
        let Some(waiting) = calls.as_mut() else { return Err(CLOSED) };
        waiting.push(Box::new(callback));
        drop(calls);
        // It fails only if the loop is gone, and so its callbacks.
        let _ = self.0.poller.notify();
        Ok(())
    }

    /// The loop, if this is its thread.
    fn at_home(&self) -> Option<EventLoop> {
        if thread::current().id() != self.0.home {
            return None;
        }
        let known = LOOPS.try_with(|loops| loops.borrow().get(&Arc::as_ptr(&self.0)).cloned());
        let inner = known.ok()??.upgrade()?;
        Some(EventLoop { inner, owner: false })
    }
}
