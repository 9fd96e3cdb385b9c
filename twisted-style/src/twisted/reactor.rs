//! The reactor: one thread that waits for everything at once and calls back whoever it concerns
//! (`twisted.internet.reactor`).
//!
//! It is an explicit loop: nothing happens before [`Reactor::run`], everything happens inside it,
//! and it returns after [`Reactor::stop`]. Underneath is `epoll`, level-triggered as in Twisted's
//! own `epollreactor`, by way of the `polling` crate. A `Reactor` is a handle that is not `Send`:
//! the compiler proves that only one thread touches it. The door for the other threads is
//! [`ReactorFromThreads::call_from_thread`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};
use polling::{Event, Events, PollMode, Poller};

use super::clock::{DelayedCall, ReactorTime};
use super::connection::{Connection, Waits};
use super::defer::{Deferred, Reply, defer_later, succeed};
use super::failure::{AbandonedError, Failure, report_unhandled};
use super::gather::deferred_list;
use super::protocol::{Factory, Protocol};
use super::thread_pool::ThreadPool;
use super::transport::{Changed, Transport};

/// What is read from one connection before it is the next one's turn, in bytes
/// (`tcp.Connection.bufferSize`).
pub(crate) const READ: usize = 64 * 1024;

/// A listener takes so many connections before it is somebody else's turn.
const ACCEPT: usize = 64;

/// So many calls of other threads are made in a turn.
const CALLS: usize = 256;

/// So many connections are begun in a turn.
const CONNECT: usize = 64;

/// How long a listener rests when the process has no descriptor left for another connection.
const REST: Duration = Duration::from_millis(100);

type Call = Box<dyn FnOnce()>;
type Trigger = Box<dyn FnOnce() -> Deferred<()>>;
type BuildProtocol = Box<dyn FnMut(SocketAddr) -> Option<Box<dyn Protocol>>>;
type Tcp = Connection<TcpStream>;

/// A handle on a reactor; a clone is another handle on the same one.
#[derive(Clone)]
pub struct Reactor(Rc<Inner>);

struct Inner {
    poller: Arc<Poller>,
    clock: ReactorTime,
    /// What is waited for; its index is its key in the poller.
    sources: RefCell<Vec<Option<Source>>>,
    /// Keys to be used again, and keys that may still occur in the events being handled.
    free: RefCell<Vec<usize>>,
    freed: RefCell<Vec<usize>>,
    changed: Changed,
    soon: RefCell<VecDeque<Call>>,
    to_connect: RefCell<VecDeque<Call>>,
    running: Cell<bool>,
    /// To be stopped; the triggers before shutdown have been called; they have come to their end.
    stopping: Cell<bool>,
    shutting_down: Cell<bool>,
    stopped: Cell<bool>,
    /// Nothing is begun any more.
    closed: Cell<bool>,
    before_shutdown: RefCell<VecDeque<Trigger>>,
    after_shutdown: RefCell<VecDeque<Trigger>>,
    from_threads: ReactorFromThreads,
    calls: Receiver<CallFromThread>,
    pool: RefCell<ThreadPool>,
}

#[derive(Clone)]
enum Source {
    Connection(Rc<Watched>),
    Port(Rc<Port>),
    Reader(Rc<Reader>),
}

/// A connection, and what the poller watches it for at present.
struct Watched {
    connection: Tcp,
    watched: Cell<(bool, bool)>,
}

struct Port {
    listener: TcpListener,
    build_protocol: RefCell<BuildProtocol>,
    resting: Cell<bool>,
    closed: Cell<bool>,
}

struct Reader {
    source: OwnedFd,
    do_read: RefCell<Box<dyn FnMut()>>,
}

impl Reactor {
    /// A reactor that does not run yet.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new() -> io::Result<Reactor> {
        let poller = Arc::new(Poller::new()?);
        let (sender, calls) = mpsc::channel();
        let from_threads = ReactorFromThreads { sender, poller: poller.clone() };
        Ok(Reactor(Rc::new(Inner {
            poller,
            clock: ReactorTime::real(),
            sources: RefCell::default(),
            free: RefCell::default(),
            freed: RefCell::default(),
            changed: Changed::default(),
            soon: RefCell::default(),
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

    /// Waits and calls back until [`stop`](Reactor::stop). Then every connection is closed, and
    /// what was still to come is forgotten. Jobs in threads are waited for.
    ///
    /// # Panics
    /// It runs or has run: a reactor is run once (`ReactorNotRestartable`).
    pub fn run(&self) {
        let inner = &*self.0;
        assert!(!inner.running.replace(true), "the reactor is running");
        assert!(!inner.closed.get(), "the reactor has run, and cannot be started anew");
        let mut events = Events::new();
        let mut buffer = vec![0; READ];
        while self.run_until_current() {
            events.clear();
            inner
                .poller
                .wait(&mut events, self.time_to_wait())
                .expect("epoll_wait fails for descriptors and addresses that are not ours only");
            for event in events.iter() {
                self.dispatch(event, &mut buffer);
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

    /// Has [`run`](Reactor::run) return, after what was added before shutdown. That is called at
    /// the end of this turn; an error of it is reported, and keeps the others from nothing.
    pub fn stop(&self) {
        self.0.stopping.set(true);
    }

    fn shut_down(&self) {
        let mut waits = Vec::new();
        // One of them may add another one.
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

    /// Has `trigger` called when the reactor stops; if it returns a Deferred before shutdown, the
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
        self.keep_call(&self.0.soon, Box::new(function));
    }

    /// Calls `function` when `delay` has passed.
    pub fn call_later(&self, delay: Duration, function: impl FnOnce() + 'static) -> DelayedCall {
        self.0.clock.call_later(delay, function)
    }

    /// Fires when `delay` has passed; cancelling it calls that off (`task.deferLater`).
    pub fn defer_later(&self, delay: Duration) -> Deferred<()> {
        defer_later(&self.0.clock, delay)
    }

    /// Accepts connections on `listener` and builds a protocol for each.
    ///
    /// # Errors
    /// The listener cannot be watched: no memory left.
    pub fn listen_tcp(
        &self,
        listener: TcpListener,
        mut factory: impl Factory,
    ) -> io::Result<ListeningPort> {
        listener.set_nonblocking(true)?;
        let build = move |peer| {
            let protocol = factory.build_protocol(peer)?;
            Some(Box::new(protocol) as Box<dyn Protocol>)
        };
        let port = Rc::new(Port {
            listener,
            build_protocol: RefCell::new(Box::new(build)),
            resting: Cell::new(false),
            closed: Cell::new(false),
        });
        let key = self.reserve();
        self.watch(&port.listener, Event::readable(key)).inspect_err(|_| self.release(key))?;
        self.keep(key, Source::Port(port.clone()));
        Ok(ListeningPort { reactor: Rc::downgrade(&self.0), port: Rc::downgrade(&port), key })
    }

    /// Connects to `address`; `protocol` then speaks, or is told `connection_failed` if that took
    /// longer than `timeout` or cannot be done. It is the loop that begins with it, so many in a
    /// turn: a listener has room for so many that it has not accepted yet, and a connection
    /// beyond that waits for a second before it is tried again.
    pub fn connect_tcp(
        &self,
        address: SocketAddr,
        protocol: impl Protocol,
        timeout: Duration,
    ) -> Connector {
        let (clock, changed) = (self.0.clock.clone(), self.0.changed.clone());
        let transport = Transport::new(self.reserve(), address, clock, changed);
        transport.set_timeout(Some(timeout));
        let (reactor, begun) = (self.clone(), transport.clone());
        let begin = move || reactor.begin_connecting(begun, Box::new(protocol));
        self.keep_call(&self.0.to_connect, Box::new(begin));
        Connector(transport)
    }

    /// Calls `do_read` whenever `source` is readable or at its end, until it is removed
    /// (`addReader`). Level-triggered: it is called again as long as nobody has read.
    ///
    /// # Errors
    /// `source` is nothing that one can wait for: a regular file.
    pub fn add_reader(
        &self,
        source: impl Into<OwnedFd>,
        do_read: impl FnMut() + 'static,
    ) -> io::Result<ReadDescriptor> {
        let reader =
            Rc::new(Reader { source: source.into(), do_read: RefCell::new(Box::new(do_read)) });
        let key = self.reserve();
        self.watch(&reader.source, Event::readable(key)).inspect_err(|_| self.release(key))?;
        self.keep(key, Source::Reader(reader.clone()));
        Ok(ReadDescriptor { reactor: Rc::downgrade(&self.0), reader: Rc::downgrade(&reader), key })
    }

    /// The handle that other threads may have.
    pub fn for_threads(&self) -> ReactorFromThreads {
        self.0.from_threads.clone()
    }

    /// Runs `work`, which may block or compute, in a thread of the reactor's pool, and fires with
    /// what it returned, as a callback does: `Ok`, `Err` or nothing (`threads.deferToThread`).
    /// Cancelling does not stop the thread.
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
            // Both fail only when the reactor is gone, and then nobody waits for this.
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

    /// How many threads [`defer_to_thread`](Reactor::defer_to_thread) may use at once: 10 unless
    /// this says otherwise.
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
        inner.free.borrow_mut().append(&mut inner.freed.borrow_mut());
        self.settle();
        let turn = inner.soon.borrow().len(); // what these add is for the next turn
        call_first(&inner.soon, turn);
        call_first(&inner.to_connect, CONNECT);
        for (n, call) in inner.calls.try_iter().take(CALLS).enumerate() {
            go_on(|| call(self));
            if n + 1 == CALLS {
                wake_up(&inner.poller); // there may be more
            }
        }
        inner.clock.run_due(|call| {
            go_on(call);
        });
        if inner.stopping.get() && !inner.shutting_down.replace(true) {
            self.shut_down();
        }
        self.settle();
        !inner.stopped.get()
    }

    fn time_to_wait(&self) -> Option<Duration> {
        let (soon, to_connect) = (self.0.soon.borrow(), self.0.to_connect.borrow());
        if !(soon.is_empty() && to_connect.is_empty() && self.0.changed.len() == 0) {
            return Some(Duration::ZERO);
        }
        let next = self.0.clock.next()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn dispatch(&self, event: Event, buffer: &mut [u8]) {
        let source = self.0.sources.borrow().get(event.key).cloned().flatten();
        match source {
            Some(Source::Connection(watched)) => {
                let connection = &watched.connection;
                if connection.transport.is_over() {
                    // Called off by a callback of this same turn.
                } else if !connection.is_made() {
                    match connection.wire.take_error() {
                        Ok(None) => connection.made(),
                        Ok(Some(error)) | Err(error) => connection.transport.fail_connection(error),
                    }
                } else if event.readable {
                    connection.readable(buffer);
                }
                if event.writable {
                    self.settle_one(event.key, &watched);
                }
            }
            Some(Source::Port(port)) => self.accept(event.key, &port),
            Some(Source::Reader(reader)) => {
                // It would be called again and again: level-triggered, and not read.
                if !go_on(|| (reader.do_read.borrow_mut())()) {
                    self.remove_reader(event.key, &reader);
                }
            }
            None => {}
        }
    }

    fn accept(&self, key: usize, port: &Rc<Port>) {
        for _ in 0..ACCEPT {
            if port.closed.get() {
                return; // by the protocol that was just built
            }
            match port.listener.accept() {
                Ok((socket, peer)) => {
                    if socket.set_nonblocking(true).is_err() {
                        continue;
                    }
                    // A factory that panics refuses this one connection.
                    let build = || (port.build_protocol.borrow_mut())(peer);
                    if let Ok(Some(protocol)) = catch_unwind(AssertUnwindSafe(build)) {
                        let (clock, changed) = (self.0.clock.clone(), self.0.changed.clone());
                        let transport = Transport::new(self.reserve(), peer, clock, changed);
                        self.adopt(socket, transport, protocol).connection.made();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_out_of_something(&error) => return self.rest(key, port),
                Err(_) => {} // the error of a connection that has gone again
            }
        }
    }

    /// Has a listener wait for descriptors to be closed: it is still readable, and would keep the
    /// reactor spinning.
    fn rest(&self, key: usize, port: &Rc<Port>) {
        self.unwatch(&port.listener);
        port.resting.set(true);
        let (reactor, port) = (self.clone(), Rc::downgrade(port));
        self.call_later(REST, move || {
            let Some(port) = port.upgrade() else { return };
            match reactor.watch(&port.listener, Event::readable(key)) {
                Ok(()) => port.resting.set(false),
                Err(_) => reactor.rest(key, &port),
            }
        });
    }

    fn begin_connecting(&self, transport: Transport, protocol: Box<dyn Protocol>) {
        // Called off already, perhaps.
        let socket = transport.check().and_then(|()| begin_connecting(transport.peer()));
        match socket {
            Ok(socket) => drop(self.adopt(socket, transport, protocol)),
            Err(error) => {
                self.release(transport.key());
                Tcp::never(&transport, protocol, error);
            }
        }
    }

    fn adopt(
        &self,
        socket: TcpStream,
        transport: Transport,
        protocol: Box<dyn Protocol>,
    ) -> Rc<Watched> {
        let key = transport.key();
        let connection = Connection::new(socket, transport, protocol);
        let watched = Rc::new(Watched { connection, watched: Cell::new((false, false)) });
        self.keep(key, Source::Connection(watched.clone()));
        watched
    }

    /// Does what protocols have asked of their transports. What they ask for meanwhile is for
    /// later: one that writes whenever it may would keep all others waiting.
    fn settle(&self) {
        for _ in 0..self.0.changed.len() {
            let Some(key) = self.0.changed.next() else { return };
            let source = self.0.sources.borrow().get(key).cloned().flatten();
            if let Some(Source::Connection(watched)) = source {
                self.settle_one(key, &watched);
            }
        }
    }

    fn settle_one(&self, key: usize, watched: &Watched) {
        let socket = &watched.connection.wire;
        match watched.connection.settle() {
            Waits::For { read, write } => {
                let before = watched.watched.replace((read, write));
                let event = Event::new(key, read, write);
                let result = match (before, (read, write)) {
                    (before, now) if before == now => Ok(()),
                    ((false, false), _) => self.watch(socket, event),
                    // Not only "no events": epoll reports a hang-up in any case, again and again.
                    (_, (false, false)) => {
                        self.unwatch(socket);
                        Ok(())
                    }
                    _ => self.0.poller.modify_with_mode(socket, event, PollMode::Level),
                };
                if let Err(error) = result {
                    watched.watched.set(before);
                    watched.connection.transport.fail_connection(error);
                }
            }
            Waits::Over => self.disconnect(key, watched),
        }
    }

    fn disconnect(&self, key: usize, watched: &Watched) {
        if self.forget(key).is_none() {
            return;
        }
        if watched.watched.get() != (false, false) {
            self.unwatch(&watched.connection.wire);
        }
        watched.connection.lost();
    }

    fn disconnect_all(&self) {
        self.0.closed.set(true);
        let sources = self.0.unwatch_all();
        for source in sources.iter().flatten() {
            match source {
                Source::Connection(watched) => {
                    watched.connection.transport.abort_connection();
                    watched.connection.lost();
                }
                Source::Port(_) | Source::Reader(_) => {}
            }
        }
        drop(sources);
        while let Some(trigger) = pop(&self.0.after_shutdown) {
            drop(trigger());
        }
        // What was still to come is not begun any more. Each is moved out first: as it is dropped
        // it may use the reactor once more.
        drop(self.0.unwatch_all());
        drop(self.0.soon.take());
        drop(self.0.to_connect.take());
        drop(self.0.before_shutdown.take());
        drop(self.0.pool.replace(ThreadPool::new())); // joins its threads
        self.0.clock.close();
    }

    fn reserve(&self) -> usize {
        if let Some(key) = self.0.free.borrow_mut().pop() {
            return key;
        }
        let mut sources = self.0.sources.borrow_mut();
        sources.push(None);
        sources.len() - 1
    }

    fn keep(&self, key: usize, source: Source) {
        if let Some(place) = self.0.sources.borrow_mut().get_mut(key) {
            *place = Some(source);
        }
    }

    fn forget(&self, key: usize) -> Option<Source> {
        let source = self.0.sources.borrow_mut().get_mut(key)?.take()?;
        self.release(key);
        Some(source)
    }

    fn release(&self, key: usize) {
        self.0.freed.borrow_mut().push(key);
    }

    #[expect(unsafe_code, reason = "`polling` wants a promise about descriptors")]
    fn watch(&self, source: &impl AsFd, event: Event) -> io::Result<()> {
        let fd = source.as_fd().as_raw_fd();
        // SAFETY: the descriptor must be deleted from the poller before it is closed. All that is
        // watched is owned by `sources`, and goes through `unwatch` before it leaves there, or
        // through `unwatch_all` at the end of the reactor, whose poller threads may still have.
        unsafe { self.0.poller.add_with_mode(fd, event, PollMode::Level) }
    }

    fn unwatch(&self, source: &impl AsFd) {
        self.0.unwatch(source);
    }

    fn remove_reader(&self, key: usize, reader: &Reader) {
        self.unwatch(&reader.source);
        self.forget(key);
    }
}

impl Inner {
    fn unwatch(&self, source: &impl AsFd) {
        // Fails only for a descriptor that is not watched.
        let _ = self.poller.delete(source.as_fd());
    }

    fn unwatch_all(&self) -> Vec<Option<Source>> {
        let sources = self.sources.take();
        for source in sources.iter().flatten() {
            match source {
                Source::Connection(watched) => self.unwatch(&watched.connection.wire),
                Source::Port(port) => self.unwatch(&port.listener),
                Source::Reader(reader) => self.unwatch(&reader.source),
            }
        }
        sources
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.unwatch_all());
    }
}

impl AsRef<ReactorTime> for Reactor {
    fn as_ref(&self) -> &ReactorTime {
        &self.0.clock
    }
}

/// When [`Reactor::add_system_event_trigger`] calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// When the reactor has been told to stop, with all connections still open.
    BeforeShutdown,
    /// When they are closed, before `run` returns. A Deferred is not waited for any more.
    AfterShutdown,
}

/// A connection being made (`IConnector`).
pub struct Connector(Transport);

impl Connector {
    /// Stops connecting, or closes the connection at once if it is there already.
    pub fn disconnect(&self) {
        self.0.abort_connection();
    }
}

/// A listener in the reactor (`IListeningPort`). Dropping it does not close the listener.
pub struct ListeningPort {
    reactor: Weak<Inner>,
    port: Weak<Port>,
    key: usize,
}

impl ListeningPort {
    /// Accepts no more and closes the listener. Connections that are there stay.
    pub fn stop_listening(&self) {
        let (Some(inner), Some(port)) = (self.reactor.upgrade(), self.port.upgrade()) else {
            return;
        };
        let reactor = Reactor(inner);
        port.closed.set(true);
        if !port.resting.get() {
            reactor.unwatch(&port.listener);
        }
        reactor.forget(self.key);
    }
}

/// What [`Reactor::add_reader`] has added. Dropping it does not remove it.
pub struct ReadDescriptor {
    reactor: Weak<Inner>,
    reader: Weak<Reader>,
    key: usize,
}

impl ReadDescriptor {
    /// Waits for it no more and closes it (`removeReader`).
    pub fn remove(&self) {
        let (Some(inner), Some(reader)) = (self.reactor.upgrade(), self.reader.upgrade()) else {
            return;
        };
        Reactor(inner).remove_reader(self.key, &reader);
    }
}

type CallFromThread = Box<dyn FnOnce(&Reactor) + Send>;

/// The reactor as other threads see it (`IReactorFromThreads`).
#[derive(Clone)]
pub struct ReactorFromThreads {
    sender: Sender<CallFromThread>,
    poller: Arc<Poller>,
}

impl ReactorFromThreads {
    /// Has the reactor's thread call `function`, and wakes it up. If the reactor is gone, nobody
    /// calls it.
    pub fn call_from_thread(&self, function: impl FnOnce(&Reactor) + Send + 'static) {
        if self.sender.send(Box::new(function)).is_ok() {
            wake_up(&self.poller);
        }
    }
}

fn wake_up(poller: &Poller) {
    // Fails only if the poller's eventfd is broken: it would sleep to its next event.
    let _ = poller.notify();
}

/// Calls the first so many, if they are there.
fn call_first(calls: &RefCell<VecDeque<Call>>, n: usize) {
    for _ in 0..n {
        let Some(call) = pop(calls) else { return };
        go_on(call);
    }
}

fn pop<T>(queue: &RefCell<VecDeque<T>>) -> Option<T> {
    queue.borrow_mut().pop_front()
}

/// Calls it. A panic has nobody to go to: its message is on stderr, and the reactor goes on.
/// False if there was one.
fn go_on(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_ok()
}

fn begin_connecting(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(family, SockType::Stream, flags, None)?;
    match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Not the connection's fault, and not over before something is closed somewhere.
fn is_out_of_something(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}
