//! The reactor: one thread that waits for all events at once and calls their callbacks
//! (`twisted.internet.reactor`).
//!
//! It is an explicit loop: nothing happens before [`Reactor::run`], everything happens inside it,
//! and it returns after [`Reactor::stop`]. A `Reactor` is a handle that is not `Send`: the compiler
//! proves that only one thread uses it. Other threads use [`ReactorFromThreads::call_from_thread`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use polling::{Event, Events};

use super::clock::{DelayedCall, ReactorTime};
use super::defer::{Deferred, Reply, defer_later, succeed};
use super::failure::{AbandonedError, Failure, report_unhandled};
use super::gather::deferred_list;
use super::protocol::{Factory, Protocol};
use super::selector::{Selector, Source, Waker};
use super::tcp::{Connector, ListeningPort, READ, Tcp};
use super::thread_pool::ThreadPool;
use super::transport::Changed;

/// How many calls from other threads the reactor makes in one turn.
const CALLS: usize = 256;

/// How many connections the reactor begins in one turn.
const CONNECT: usize = 64;

type Call = Box<dyn FnOnce()>;
type Trigger = Box<dyn FnOnce() -> Deferred<()>>;

/// A handle on a reactor; a clone is another handle on the same one.
#[derive(Clone)]
pub struct Reactor(Rc<Inner>);

struct Inner {
    tcp: Tcp,
    next_turn: RefCell<VecDeque<Call>>,
    to_connect: RefCell<VecDeque<Call>>,
    running: Cell<bool>,
    /// `stop` has been called.
    stopping: Cell<bool>,
    /// The triggers before shutdown have been called.
    shutting_down: Cell<bool>,
    /// Their Deferreds have fired.
    stopped: Cell<bool>,
    /// `run` has ended: no new call is accepted.
    closed: Cell<bool>,
    before_shutdown: RefCell<VecDeque<Trigger>>,
    after_shutdown: RefCell<VecDeque<Trigger>>,
    from_threads: ReactorFromThreads,
    calls: Receiver<CallFromThread>,
    pool: RefCell<ThreadPool>,
}

impl Reactor {
    /// A reactor that does not run yet.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new() -> io::Result<Reactor> {
        let selector = Rc::new(Selector::new()?);
        let (sender, calls) = mpsc::channel();
        let from_threads = ReactorFromThreads { sender, waker: selector.waker() };
        Ok(Reactor(Rc::new(Inner {
            tcp: Tcp { selector, clock: ReactorTime::real(), changed: Changed::default() },
            next_turn: RefCell::default(),
            to_connect: RefCell::default(),
            running: Cell::new(false),
            stopping: Cell::new(false),
            shutting_down: Cell::new(false),
            stopped: Cell::new(false),
            closed: Cell::new(false),
            before_shutdown: RefCell::default(),
            after_shutdown: RefCell::default(),
            pool: RefCell::new(ThreadPool::new()),
            from_threads,
            calls,
        })))
    }

    /// Waits and calls callbacks until [`stop`](Reactor::stop). Then it closes every connection,
    /// drops the calls still to come, and waits for the jobs in threads.
    ///
    /// # Panics
    /// It runs or has run: a reactor is run once (`ReactorNotRestartable`).
    pub fn run(&self) {
        let inner = &*self.0;
        assert!(!inner.running.replace(true), "the reactor is running");
        assert!(!inner.closed.get(), "the reactor has run, and cannot be run again");
        let mut events = Events::new();
        let mut buffer = vec![0; READ];
        while self.run_until_current() {
            inner.tcp.selector.wait(&mut events, self.time_to_wait());
            for event in events.iter() {
                if let Some(source) = inner.tcp.selector.get(event.key) {
                    source.ready(event, &mut buffer);
                }
            }
        }
        self.disconnect_all();
        inner.running.set(false);
    }

    /// Runs until `deferred` has a result, and returns that (`task.react`).
    ///
    /// # Errors
    /// The error of the Deferred, or [`AbandonedError`] if the reactor was stopped before.
    pub fn run_until<T>(&self, deferred: Deferred<T>) -> Result<T, Failure> {
        let result = Rc::new(Cell::new(None));
        let done = {
            let (result, reactor) = (result.clone(), self.clone());
            deferred.add_both(move |fired| {
                result.set(Some(fired));
                reactor.stop();
            })
        };
        self.run();
        drop(done);
        result.take().unwrap_or(Err(AbandonedError.into()))
    }

    /// Makes [`run`](Reactor::run) return, after the triggers before shutdown. They are called at
    /// the end of this turn; an error of one is reported and does not stop the others.
    pub fn stop(&self) {
        self.0.stopping.set(true);
    }

    fn shut_down(&self) {
        let mut waits = Vec::new();
        // A trigger may add another one.
        while let Some(trigger) = pop(&self.0.before_shutdown) {
            waits.push(trigger());
        }
        let reactor = self.clone();
        let done = deferred_list(waits).add_callback(move |results| {
            reactor.0.stopped.set(true);
            for failure in results.into_iter().filter_map(Result::err) {
                report_unhandled(&failure);
            }
        });
        drop(done);
    }

    /// Calls `trigger` when the reactor stops. If it returns a Deferred before shutdown, the
    /// reactor goes on until that has fired (`addSystemEventTrigger("before", "shutdown", …)`).
    pub fn add_system_event_trigger<R: Reply<Value = ()>>(
        &self,
        event: SystemEvent,
        trigger: impl FnOnce() -> R + 'static,
    ) {
        let triggers = match event {
            SystemEvent::BeforeShutdown => &self.0.before_shutdown,
            SystemEvent::AfterShutdown => &self.0.after_shutdown,
        };
        let trigger = Box::new(move || succeed(()).add_callback(move |()| trigger()));
        triggers.borrow_mut().push_back(trigger);
    }

    /// Calls `function` in the reactor's next turn.
    pub fn call_when_running(&self, function: impl FnOnce() + 'static) {
        self.keep_call(&self.0.next_turn, Box::new(function));
    }

    /// Calls `function` when `delay` has passed.
    pub fn call_later(&self, delay: Duration, function: impl FnOnce() + 'static) -> DelayedCall {
        self.0.tcp.clock.call_later(delay, function)
    }

    /// Fires when `delay` has passed (`task.deferLater`). Cancelling it cancels the call.
    pub fn defer_later(&self, delay: Duration) -> Deferred<()> {
        defer_later(&self.0.tcp.clock, delay)
    }

    /// Accepts connections on `listener` and makes a protocol for each.
    ///
    /// # Errors
    /// The listener cannot be watched: no memory left.
    pub fn listen_tcp(
        &self,
        listener: TcpListener,
        factory: impl Factory,
    ) -> io::Result<ListeningPort> {
        self.0.tcp.listen(listener, factory)
    }

    /// Connects to `address`. Then calls `connection_made` of `protocol`, or `connection_failed` if
    /// that takes longer than `timeout` or cannot be done. The loop begins a limited number of
    /// connections per turn: the kernel tries a connection again only after a second if the
    /// listener's backlog is full.
    pub fn connect_tcp(
        &self,
        address: SocketAddr,
        protocol: impl Protocol,
        timeout: Duration,
    ) -> Connector {
        let transport = self.0.tcp.transport(address);
        transport.set_timeout(Some(timeout));
        let (tcp, begun) = (self.0.tcp.clone(), transport.clone());
        let begin = move || tcp.connect(begun, Box::new(protocol));
        self.keep_call(&self.0.to_connect, Box::new(begin));
        Connector(transport)
    }

    /// Calls `do_read` whenever `source` is readable or at its end, until it is removed
    /// (`addReader`). Level-triggered: it is called again until all has been read.
    ///
    /// `source` cannot be watched: it is a regular file.
    /// `source` cannot be waited for: it is a regular file.
    pub fn add_reader(
        &self,
        source: impl Into<OwnedFd>,
        do_read: impl FnMut() + 'static,
    ) -> io::Result<ReadDescriptor> {
        let selector = &self.0.tcp.selector;
        let reader = Rc::new(Reader {
            selector: selector.clone(),
            key: selector.reserve(),
            source: source.into(),
            do_read: RefCell::new(Box::new(do_read)),
        });
        selector.insert_reading(reader.key, reader.clone())?;
        Ok(ReadDescriptor(Rc::downgrade(&reader)))
    }

    /// The handle for other threads.
    pub fn for_threads(&self) -> ReactorFromThreads {
        self.0.from_threads.clone()
    }

    /// Runs `work`, which may block or compute, in a thread of the reactor's pool, and fires with
    /// its result, as a callback does: `Ok`, `Err` or nothing (`threads.deferToThread`). Cancelling
    /// does not stop the thread.
    pub fn defer_to_thread<R: Reply + Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Deferred<R::Value> {
        let (resolver, deferred) = Deferred::new();
        let (sender, result) = mpsc::channel();
        let mut pool = self.0.pool.borrow_mut();
        let job = pool.waiting.insert(Box::new(move || {
            let result: thread::Result<R> = result.try_recv().expect("sent before this is called");
            match result {
                Ok(reply) => reply.settle(resolver),
                Err(panic) => resolver.errback(Failure::panicked(panic)),
            }
        }));
        let from_threads = self.for_threads();
        pool.start(Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            // Both fail only when the reactor is gone, and the Deferred with it.
            let _ = sender.send(result);
            from_threads.call_from_thread(move |reactor| {
                let fire = reactor.0.pool.borrow_mut().waiting.remove(job);
                if let Some(fire) = fire {
                    fire();
                }
            });
        }));
        deferred
    }

    /// How many threads [`defer_to_thread`](Reactor::defer_to_thread) may use at once; 10 by
    /// default.
    pub fn suggest_thread_pool_size(&self, size: usize) {
        self.0.pool.borrow_mut().size = size.max(1);
    }

    fn keep_call(&self, calls: &RefCell<VecDeque<Call>>, call: Call) {
        if !self.0.closed.get() {
            calls.borrow_mut().push_back(call);
        }
    }

    /// Does everything that can be done without waiting. False when it is time to stop.
    fn run_until_current(&self) -> bool {
        let inner = &*self.0;
        inner.tcp.selector.begin_turn();
        self.settle();
        let turn = inner.next_turn.borrow().len(); // what these add is for the next turn
        call_first(&inner.next_turn, turn);
        call_first(&inner.to_connect, CONNECT);
        for (n, call) in inner.calls.try_iter().take(CALLS).enumerate() {
            go_on(|| call(self));
            if n + 1 == CALLS {
                inner.from_threads.waker.wake(); // there may be more
            }
        }
        inner.tcp.clock.run_due(|call| {
            go_on(call);
        });
        if inner.stopping.get() && !inner.shutting_down.replace(true) {
            self.shut_down();
        }
        self.settle();
        !inner.stopped.get()
    }

    fn time_to_wait(&self) -> Option<Duration> {
        let (calls, to_connect) = (self.0.next_turn.borrow(), self.0.to_connect.borrow());
        if !(calls.is_empty() && to_connect.is_empty() && self.0.tcp.changed.len() == 0) {
            return Some(Duration::ZERO);
        }
        let next = self.0.tcp.clock.next()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Does what protocols have requested of their transports. Requests made meanwhile are handled
    /// later: a protocol that always writes would block all others.
    fn settle(&self) {
        for _ in 0..self.0.tcp.changed.len() {
            let Some(key) = self.0.tcp.changed.next() else { return };
            if let Some(source) = self.0.tcp.selector.get(key) {
                source.settle();
            }
        }
    }

    fn disconnect_all(&self) {
        self.0.closed.set(true);
        let sources = self.0.tcp.selector.remove_all();
        for source in &sources {
            source.disconnect();
        }
        drop(sources);
        while let Some(trigger) = pop(&self.0.after_shutdown) {
            drop(trigger());
        }
        // Drops the calls that are still to come. Each queue is moved out first, because a
        // destructor of a call may use the reactor once more.
        drop(self.0.tcp.selector.remove_all());
        drop(self.0.next_turn.take());
        drop(self.0.to_connect.take());
        drop(self.0.before_shutdown.take());
        drop(self.0.pool.replace(ThreadPool::new())); // joins its threads
        self.0.tcp.clock.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.tcp.selector.remove_all());
    }
}

impl AsRef<ReactorTime> for Reactor {
    fn as_ref(&self) -> &ReactorTime {
        &self.0.tcp.clock
    }
}

/// When [`Reactor::add_system_event_trigger`] calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// `stop` has been called; all connections are still open.
    BeforeShutdown,
    /// All connections are closed, and `run` is about to return. It does not wait for a Deferred.
    AfterShutdown,
}

struct Reader {
    selector: Rc<Selector>,
    key: usize,
    source: OwnedFd,
    do_read: RefCell<Box<dyn FnMut()>>,
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl Source for Reader {
    fn ready(self: Rc<Self>, _: Event, _: &mut [u8]) {
        // After a panic it may not have read: it would be called again and again.
        if !go_on(|| (self.do_read.borrow_mut())()) {
            self.selector.remove(self.key);
        }
    }
}

/// What [`Reactor::add_reader`] has added. Dropping it does not remove it.
pub struct ReadDescriptor(Weak<Reader>);

impl ReadDescriptor {
    /// Watches it no longer and closes it (`removeReader`).
    pub fn remove(&self) {
        if let Some(reader) = self.0.upgrade() {
            reader.selector.remove(reader.key);
        }
    }
}

type CallFromThread = Box<dyn FnOnce(&Reactor) + Send>;

/// The reactor as other threads see it (`IReactorFromThreads`).
#[derive(Clone)]
pub struct ReactorFromThreads {
    sender: Sender<CallFromThread>,
    waker: Waker,
}

impl ReactorFromThreads {
    /// Makes the reactor's thread call `function`, and wakes it up. If the reactor is gone,
    /// `function` is dropped.
    pub fn call_from_thread(&self, function: impl FnOnce(&Reactor) + Send + 'static) {
        if self.sender.send(Box::new(function)).is_ok() {
            self.waker.wake();
        }
    }
}

/// Calls the first `n` of them.
fn call_first(calls: &RefCell<VecDeque<Call>>, n: usize) {
    for _ in 0..n {
        let Some(call) = pop(calls) else { return };
        go_on(call);
    }
}

fn pop<T>(queue: &RefCell<VecDeque<T>>) -> Option<T> {
    queue.borrow_mut().pop_front()
}

/// Calls it. After a panic, which has been printed on stderr, the reactor goes on. False if it
/// panicked.
fn go_on(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_ok()
}
