//! An event loop under asyncio's names (PEP 3156): callbacks below, coroutines on top of them.
//!
//! The lower half knows callbacks only: `call_soon`, `call_later`, `add_reader`, and protocols
//! that are called when something has happened. The upper half is built on it and adds nothing
//! to the loop: a [`Task`] is a Rust future whose next step is one more `call_soon`, and an
//! `await` ends in a done-callback that asks for that step.
//!
//! Everything but [`ThreadsafeHandle`] belongs to the thread of its loop: nothing is `Send`, so
//! the compiler refuses what asyncio's documentation warns of.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Release},
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use polling::{Event, Events, PollMode, Poller};

use common::BUFFER;

type Call = Box<dyn FnOnce()>;
type ThreadCall = Box<dyn FnOnce(&EventLoop) + Send>;

/// A handle on the loop (`asyncio.AbstractEventLoop`); a clone is the same loop.
#[derive(Clone)]
pub struct EventLoop(Rc<Inner>);

struct Inner {
    poller: Arc<Poller>,
    ready: RefCell<VecDeque<(Rc<Cell<bool>>, Call)>>,
    timers: RefCell<BTreeMap<(Instant, u64), Call>>,
    next: Cell<u64>,
    sources: RefCell<HashMap<RawFd, Source>>,
    tasks: RefCell<HashMap<u64, Rc<dyn Step>>>,
    stopping: Cell<bool>,
    calls: Cell<u64>,
    steps: Cell<u64>,
    from_threads: Receiver<ThreadCall>,
    threadsafe: ThreadsafeHandle,
}

/// What is watched: whoever owns it shares it, so that it stays open while the poller has it.
struct Source {
    of: Rc<dyn AsFd>,
    reader: Option<Rc<dyn Fn()>>,
    writer: Option<Rc<dyn Fn()>>,
}

// -------------------------------------------------------------------------------------------
// The lower half: callbacks
// -------------------------------------------------------------------------------------------

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

    fn number(&self) -> u64 {
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
    sender: Sender<ThreadCall>,
    poller: Arc<Poller>,
    home: ThreadId,
}

impl ThreadsafeHandle {
    /// Calls `callback` in the loop's thread, which is woken up for it.
    pub fn call_soon_threadsafe(&self, callback: impl FnOnce(&EventLoop) + Send + 'static) {
        // Both fail only when the loop is gone, and its callbacks with it.
        let _ = self.sender.send(Box::new(callback));
        let _ = self.poller.notify();
    }
}

/// Who is called on a connection (`asyncio.Protocol`).
pub trait Protocol: 'static {
    /// The connection is there; the transport is what to answer with.
    fn connection_made(&mut self, transport: &Transport);
    /// Bytes have come, cut anywhere.
    fn data_received(&mut self, data: &[u8]);
    /// The peer sends no more. Whether the transport stays open all the same.
    fn eof_received(&mut self) -> bool {
        false
    }
    /// The transport's buffer is over its limit.
    fn pause_writing(&mut self) {}
    /// It is empty again.
    fn resume_writing(&mut self) {}
    /// The connection is over: called once, and last. No error: one of the two sides closed it.
    fn connection_lost(&mut self, error: Option<io::Error>);
}

/// Beyond so many bytes that wait to be sent, a protocol is asked to pause.
const HIGH_WATER: usize = 64 * 1024;

/// A connected socket and its buffer (`asyncio.Transport`).
#[derive(Clone)]
pub struct Transport(Rc<Channel>);

struct Channel {
    event_loop: EventLoop,
    socket: Rc<TcpStream>,
    protocol: RefCell<Box<dyn Protocol>>,
    buffer: RefCell<VecDeque<u8>>,
    paused: Cell<bool>,
    closing: Cell<bool>,
    lost: Cell<bool>,
}

impl Transport {
    fn start(
        event_loop: &EventLoop,
        socket: Rc<TcpStream>,
        protocol: Box<dyn Protocol>,
    ) -> Transport {
        let transport = Transport(Rc::new(Channel {
            event_loop: event_loop.clone(),
            socket,
            protocol: RefCell::new(protocol),
            buffer: RefCell::default(),
            paused: Cell::new(false),
            closing: Cell::new(false),
            lost: Cell::new(false),
        }));
        let made = transport.clone();
        event_loop.call_soon(move || {
            made.0.protocol.borrow_mut().connection_made(&made);
            made.resume_reading();
        });
        transport
    }

    /// Sends `data`, now or when the peer takes it.
    pub fn write(&self, data: &[u8]) {
        if self.is_closing() {
            return;
        }
        self.0.buffer.borrow_mut().extend(data);
        let again = self.clone();
        let watched = self.0.event_loop.add_writer(&self.0.socket, move || again.ready_to_write());
        if let Err(error) = watched {
            self.lose(Some(error));
        } else if self.0.buffer.borrow().len() > HIGH_WATER && !self.0.paused.replace(true) {
            let told = self.clone();
            self.0.event_loop.call_soon(move || told.0.protocol.borrow_mut().pause_writing());
        }
    }

    /// Has `data_received` called no more for now.
    pub fn pause_reading(&self) {
        self.0.event_loop.remove_reader(&*self.0.socket);
    }

    /// Has it called again.
    pub fn resume_reading(&self) {
        if self.is_closing() {
            return;
        }
        let again = self.clone();
        let watched = self.0.event_loop.add_reader(&self.0.socket, move || again.ready_to_read());
        if let Err(error) = watched {
            self.lose(Some(error));
        }
    }

    /// Closes the connection when what was written has been sent.
    pub fn close(&self) {
        if !self.0.closing.replace(true) {
            self.pause_reading();
            if self.0.buffer.borrow().is_empty() {
                self.lose(None);
            }
        }
    }

    /// Whether it is closed, or about to be.
    pub fn is_closing(&self) -> bool {
        self.0.closing.get() || self.0.lost.get()
    }

    fn ready_to_read(&self) {
        let mut data = [0; BUFFER];
        let read = (&*self.0.socket).read(&mut data);
        // The protocol is called inside no other call of it: every one comes from the loop.
        match read {
            _ if self.is_closing() => {}
            Ok(0) => {
                if self.0.protocol.borrow_mut().eof_received() {
                    self.pause_reading();
                } else {
                    self.close();
                }
            }
            Ok(n) => self.0.protocol.borrow_mut().data_received(&data[..n]),
            Err(error) if again(&error) => {}
            Err(error) => self.lose(Some(error)),
        }
    }

    fn ready_to_write(&self) {
        let mut buffer = self.0.buffer.borrow_mut();
        let sent = (&*self.0.socket).write(buffer.as_slices().0);
        match sent {
            Ok(n) => drop(buffer.drain(..n)),
            Err(error) if again(&error) => {}
            Err(error) => {
                drop(buffer);
                return self.lose(Some(error));
            }
        }
        if buffer.is_empty() {
            drop(buffer);
            self.0.event_loop.remove_writer(&*self.0.socket);
            if self.0.closing.get() {
                return self.lose(None);
            }
            if self.0.paused.replace(false) {
                self.0.protocol.borrow_mut().resume_writing();
            }
        }
    }

    fn lose(&self, error: Option<io::Error>) {
        if self.0.lost.replace(true) {
            return;
        }
        self.0.event_loop.remove_reader(&*self.0.socket);
        self.0.event_loop.remove_writer(&*self.0.socket);
        let lost = self.clone();
        self.0.event_loop.call_soon(move || {
            // The peer may have closed it already.
            let _ = lost.0.socket.shutdown(Shutdown::Both);
            lost.0.protocol.borrow_mut().connection_lost(error);
        });
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl EventLoop {
    /// Connects, then has `protocol` called (`loop.create_connection`). The future is the
    /// transport.
    pub fn create_connection(
        &self,
        address: SocketAddr,
        protocol: impl Protocol,
    ) -> Future<Transport> {
        let future = self.create_future();
        let (done, event_loop) = (future.clone(), self.clone());
        let socket = match begin_connecting(address) {
            Ok(socket) => Rc::new(socket),
            Err(error) => {
                future.set_exception(error);
                return future;
            }
        };
        let protocol = Cell::new(Some(Box::new(protocol) as Box<dyn Protocol>));
        let connecting = Rc::clone(&socket);
        let watched = self.add_writer(&socket, move || {
            event_loop.remove_writer(&*connecting);
            match (connecting.take_error(), protocol.take()) {
                (Ok(None), Some(protocol)) => {
                    done.set_result(Transport::start(
                        &event_loop,
                        Rc::clone(&connecting),
                        protocol,
                    ));
                }
                (Ok(Some(error)) | Err(error), _) => done.set_exception(error),
                (Ok(None), None) => {}
            }
        });
        match watched {
            Ok(()) => {
                let event_loop = self.clone();
                future.on_cancel(move || event_loop.remove_writer(&*socket));
            }
            Err(error) => future.set_exception(error),
        }
        future
    }

    /// Accepts connections, a new protocol for each (`loop.create_server`), until the server is
    /// closed.
    ///
    /// # Errors
    ///
    /// The listener cannot be watched.
    pub fn create_server<P: Protocol>(
        &self,
        listener: TcpListener,
        factory: impl Fn() -> P + 'static,
    ) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let listener = Rc::new(listener);
        let (accepting, event_loop) = (Rc::clone(&listener), self.clone());
        self.add_reader(&listener, move || {
            // An error belongs to the connection that nobody got; the next turn tries again.
            while let Ok((socket, _)) = accepting.accept() {
                if socket.set_nonblocking(true).is_ok() {
                    Transport::start(&event_loop, Rc::new(socket), Box::new(factory()));
                }
            }
        })?;
        Ok(Server { event_loop: self.clone(), listener })
    }
}

/// A listener that is watched (`asyncio.Server`).
pub struct Server {
    event_loop: EventLoop,
    listener: Rc<TcpListener>,
}

impl Server {
    /// Accepts no more.
    pub fn close(self) {
        self.event_loop.remove_reader(&*self.listener);
    }
}

fn begin_connecting(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error.into()),
    }
}

/// A result that is to come (`asyncio.Future`): callbacks can be added, and it can be awaited.
pub struct Future<T>(Rc<Pending<T>>);

type DoneCallback<T> = Box<dyn FnOnce(&Future<T>)>;

struct Pending<T> {
    event_loop: EventLoop,
    result: RefCell<Option<Result<T, Exception>>>,
    callbacks: RefCell<Vec<DoneCallback<T>>>,
    /// What is to be called off with it.
    canceller: RefCell<Option<Call>>,
}

/// Why a future has no result.
#[derive(Clone, Debug)]
pub enum Exception {
    /// It was cancelled (`CancelledError`).
    Cancelled,
    /// What was raised; several may look at it.
    Raised(Rc<dyn std::error::Error>),
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exception::Cancelled => f.write_str("cancelled"),
            Exception::Raised(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Exception {
    fn from(error: E) -> Exception {
        Exception::Raised(Rc::new(error))
    }
}

impl<T> Clone for Future<T> {
    fn clone(&self) -> Future<T> {
        Future(Rc::clone(&self.0))
    }
}

impl<T: Clone + 'static> Future<T> {
    /// Ends it with a result; a second end does nothing (asyncio raises `InvalidStateError`).
    pub fn set_result(&self, value: T) {
        self.finish(Ok(value));
    }

    /// Ends it with an error.
    pub fn set_exception(&self, error: impl Into<Exception>) {
        self.finish(Err(error.into()));
    }

    /// Ends it as cancelled, and calls off what it waits for. Whether it was not too late.
    pub fn cancel(&self) -> bool {
        let in_time = !self.done();
        let canceller = self.0.canceller.take();
        if in_time {
            if let Some(call_off) = canceller {
                call_off();
            }
            self.finish(Err(Exception::Cancelled));
        }
        in_time
    }

    /// Whether it has ended.
    pub fn done(&self) -> bool {
        self.0.result.borrow().is_some()
    }

    /// How it ended, if it has.
    pub fn result(&self) -> Option<Result<T, Exception>> {
        self.0.result.borrow().clone()
    }

    /// Calls `callback` in a turn of the loop once this has ended; never from inside this call.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Future<T>) + 'static) {
        self.0.callbacks.borrow_mut().push(Box::new(callback));
        if self.done() {
            self.schedule_callbacks();
        }
    }

    fn on_cancel(&self, call_off: impl FnOnce() + 'static) {
        *self.0.canceller.borrow_mut() = Some(Box::new(call_off));
    }

    fn finish(&self, result: Result<T, Exception>) {
        if !self.done() {
            *self.0.result.borrow_mut() = Some(result);
            self.schedule_callbacks();
        }
    }

    fn schedule_callbacks(&self) {
        for callback in self.0.callbacks.take() {
            let future = self.clone();
            self.0.event_loop.call_soon(move || callback(&future));
        }
    }
}

impl EventLoop {
    /// A future of this loop (`loop.create_future`).
    pub fn create_future<T>(&self) -> Future<T> {
        Future(Rc::new(Pending {
            event_loop: self.clone(),
            result: RefCell::new(None),
            callbacks: RefCell::default(),
            canceller: RefCell::new(None),
        }))
    }
}

// -------------------------------------------------------------------------------------------
// The upper half: coroutines, on top of the callbacks
// -------------------------------------------------------------------------------------------

/// Awaiting a future: ask to be called when it is done, then be stepped again. This is all that
/// an `await` is (`Future.__await__`).
impl<T: Clone + 'static> std::future::Future for Future<T> {
    type Output = Result<T, Exception>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.result() {
            return Poll::Ready(result);
        }
        let waker = context.waker().clone();
        self.add_done_callback(move |_| waker.wake());
        Poll::Pending
    }
}

/// A coroutine that the loop steps (`asyncio.Task`). It is a future itself, and so can be awaited
/// and cancelled. To cancel it drops the coroutine, whose destructors run: Rust has no
/// `CancelledError` to catch.
pub type Task<T> = Future<T>;

trait Step {
    fn step(self: Rc<Self>, waker: &Waker);
}

struct Coroutine<T> {
    body: RefCell<Option<Pin<Box<dyn std::future::Future<Output = T>>>>>,
    done: Future<T>,
    number: u64,
}

impl<T: Clone + 'static> Step for Coroutine<T> {
    /// `Task.__step`: runs the coroutine up to its next await.
    fn step(self: Rc<Self>, waker: &Waker) {
        let Some(mut body) = self.body.take() else { return };
        let event_loop = self.done.0.event_loop.clone();
        event_loop.0.steps.set(event_loop.0.steps.get() + 1);
        match body.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(value) => {
                event_loop.0.tasks.borrow_mut().remove(&self.number);
                self.done.set_result(value);
            }
            Poll::Pending if self.done.done() => {} // cancelled from within
            Poll::Pending => *self.body.borrow_mut() = Some(body),
        }
    }
}

/// `Task.__wakeup`: asks the loop for one more step. It may be called from any thread.
struct Wakeup {
    number: u64,
    asked: AtomicBool,
    threadsafe: ThreadsafeHandle,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        if self.asked.swap(true, AcqRel) {
            return; // a step is on its way
        }
        let threadsafe = self.threadsafe.clone();
        let step = move |event_loop: &EventLoop| {
            self.asked.store(false, Release);
            let task = event_loop.0.tasks.borrow().get(&self.number).cloned();
            if let Some(task) = task {
                task.step(&Waker::from(self));
            }
        };
        let at_home = threadsafe.home == thread::current().id();
        // Fails only when the loop is gone, and its tasks with it.
        let _ = threadsafe.sender.send(Box::new(step));
        if !at_home {
            let _ = threadsafe.poller.notify();
        }
    }
}

impl EventLoop {
    /// Has the loop step `body` from its next turn on (`loop.create_task`).
    pub fn create_task<T: Clone + 'static>(
        &self,
        body: impl std::future::Future<Output = T> + 'static,
    ) -> Task<T> {
        let number = self.number();
        let done = self.create_future();
        let body = RefCell::new(Some(Box::pin(body) as Pin<Box<_>>));
        let task = Rc::new(Coroutine { body, done: done.clone(), number });
        self.0.tasks.borrow_mut().insert(number, Rc::clone(&task) as Rc<dyn Step>);
        let event_loop = self.clone();
        done.on_cancel(move || drop(event_loop.0.tasks.borrow_mut().remove(&number)));
        let wakeup =
            Wakeup { number, asked: AtomicBool::new(false), threadsafe: self.threadsafe() };
        self.call_soon(move || task.step(&Waker::from(Arc::new(wakeup))));
        done
    }

    /// Runs the loop until `future` is done (`loop.run_until_complete`).
    ///
    /// # Errors
    ///
    /// The future was cancelled, or ended with an error.
    pub fn run_until_complete<T: Clone + 'static>(
        &self,
        future: &Future<T>,
    ) -> Result<T, Exception> {
        let event_loop = self.clone();
        future.add_done_callback(move |_| event_loop.stop());
        self.run_forever();
        future.result().unwrap_or(Err(Exception::Cancelled))
    }

    /// Done after `delay` (`asyncio.sleep`).
    pub fn sleep(&self, delay: Duration) -> Future<()> {
        let future = self.create_future();
        let done = future.clone();
        let timer = self.call_later(delay, move || done.set_result(()));
        future.on_cancel(move || timer.cancel());
        future
    }

    /// Waits for `task`, but no longer than `timeout`; then cancels it (`asyncio.wait_for`).
    ///
    /// # Errors
    ///
    /// As the task; `TimedOut` if it was too late.
    pub async fn wait_for<T: Clone + 'static>(
        &self,
        task: Task<T>,
        timeout: Duration,
    ) -> Result<T, Exception> {
        let (late, victim) = (Rc::new(Cell::new(false)), task.clone());
        let timed_out = Rc::clone(&late);
        let timer = self.call_later(timeout, move || timed_out.set(victim.cancel()));
        let result = task.await;
        timer.cancel();
        if late.get() { Err(io::Error::from(io::ErrorKind::TimedOut).into()) } else { result }
    }

    /// Connects, and hands out what can be read and written by coroutines
    /// (`asyncio.open_connection`): a protocol that keeps what it is called with.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::create_connection`].
    pub async fn open_connection(&self, address: SocketAddr) -> Result<Stream, Exception> {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let protocol = StreamProtocol(Rc::clone(&inbox));
        let transport = self.create_connection(address, protocol).await?;
        Ok(Stream { event_loop: self.clone(), transport, inbox })
    }
}

/// A connection for coroutines (`asyncio.StreamReader` and `StreamWriter` in one). It is closed
/// when it is dropped.
pub struct Stream {
    event_loop: EventLoop,
    transport: Transport,
    inbox: Rc<RefCell<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    data: VecDeque<u8>,
    /// Set when nothing more will come: the peer closed, or the connection was lost.
    end: Option<Result<(), Exception>>,
    waiting: Option<Future<()>>,
}

impl Stream {
    /// Sends `data`.
    pub fn write(&self, data: &[u8]) {
        self.transport.write(data);
    }

    /// Waits for bytes, and puts as many into `buf` as are there; 0: the peer closed.
    ///
    /// # Errors
    ///
    /// The connection was lost.
    pub async fn read(&self, buf: &mut [u8]) -> Result<usize, Exception> {
        loop {
            let waiting = self.event_loop.create_future();
            {
                let mut inbox = self.inbox.borrow_mut();
                if !inbox.data.is_empty() {
                    // Reading from bytes in memory does not fail.
                    return Ok(inbox.data.read(buf).unwrap_or(0));
                }
                match &inbox.end {
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(())) => return Ok(0),
                    None => inbox.waiting = Some(waiting.clone()),
                }
            }
            waiting.await?;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.transport.close();
    }
}

struct StreamProtocol(Rc<RefCell<Inbox>>);

impl StreamProtocol {
    fn wake(&self) {
        let waiting = self.0.borrow_mut().waiting.take();
        if let Some(waiting) = waiting {
            waiting.set_result(());
        }
    }
}

impl Protocol for StreamProtocol {
    fn connection_made(&mut self, _transport: &Transport) {}

    fn data_received(&mut self, data: &[u8]) {
        self.0.borrow_mut().data.extend(data);
        self.wake();
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.0.borrow_mut().end = Some(error.map_or(Ok(()), |error| Err(error.into())));
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_loop() -> EventLoop {
        EventLoop::new().expect("a descriptor is left")
    }

    fn log() -> (Rc<RefCell<Vec<&'static str>>>, impl Fn(&'static str) + Clone) {
        let log = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&log);
        (log, move |word| kept.borrow_mut().push(word))
    }

    #[test]
    fn callbacks_are_called_in_order_and_new_ones_in_the_next_turn() {
        let event_loop = event_loop();
        let (said, say) = log();
        let (first, inner, last) = (say.clone(), say.clone(), say);
        let again = event_loop.clone();
        event_loop.call_soon(move || {
            first("first");
            again.call_soon(move || inner("next turn"));
            again.stop();
        });
        event_loop.call_soon(move || last("second"));
        event_loop.run_forever();
        assert_eq!(*said.borrow(), ["first", "second"]);
        event_loop.stop();
        event_loop.run_forever();
        assert_eq!(said.borrow().len(), 2, "a stop before the loop runs ends it at once");
    }

    #[test]
    fn a_cancelled_call_is_not_called() {
        let event_loop = event_loop();
        let (said, say) = log();
        let (one, two, three) = (say.clone(), say.clone(), say);
        event_loop.call_soon(move || one("soon")).cancel();
        event_loop.call_later(Duration::ZERO, move || two("later")).cancel();
        let end = event_loop.clone();
        event_loop.call_later(Duration::from_millis(1), move || {
            three("end");
            end.stop();
        });
        event_loop.run_forever();
        assert_eq!(*said.borrow(), ["end"]);
    }

    #[test]
    fn timers_fire_by_time_and_then_in_order() {
        let event_loop = event_loop();
        let (said, say) = log();
        let now = Instant::now();
        for (word, when) in [("c", 2), ("a", 1), ("b", 1)] {
            let (say, end) = (say.clone(), event_loop.clone());
            event_loop.call_at(now + Duration::from_millis(when), move || {
                say(word);
                if word == "c" {
                    end.stop();
                }
            });
        }
        event_loop.run_forever();
        assert_eq!(*said.borrow(), ["a", "b", "c"]);
    }

    #[test]
    fn done_callbacks_come_from_the_loop_never_from_set_result() {
        let event_loop = event_loop();
        let (said, say) = log();
        let (in_callback, after) = (say.clone(), say);
        let future = event_loop.create_future();
        let end = event_loop.clone();
        future.add_done_callback(move |future: &Future<i32>| {
            in_callback(if matches!(future.result(), Some(Ok(7))) { "seven" } else { "what?" });
            end.stop();
        });
        future.set_result(7);
        future.set_result(8);
        after("set");
        event_loop.run_forever();
        assert_eq!(*said.borrow(), ["set", "seven"]);
    }

    #[test]
    fn a_task_is_stepped_by_call_soon() {
        let event_loop = event_loop();
        let waits = event_loop.clone();
        let task = event_loop.create_task(async move {
            waits.sleep(Duration::ZERO).await?;
            waits.sleep(Duration::ZERO).await?;
            Ok::<_, Exception>(42)
        });
        let result = event_loop.run_until_complete(&task);
        assert!(matches!(result, Ok(Ok(42))), "{result:?}");
        let (calls, steps) = event_loop.counts();
        assert_eq!(steps, 3);
        assert!(calls > steps);
    }

    #[test]
    fn a_cancelled_task_is_dropped_and_its_future_cancelled() {
        struct Dropped(Rc<Cell<bool>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let event_loop = event_loop();
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(Rc::clone(&dropped));
        let never: Future<()> = event_loop.create_future();
        let task = event_loop.create_task(async move {
            let _guard = guard;
            never.await.is_ok()
        });
        let victim = task.clone();
        event_loop.call_later(Duration::ZERO, move || _ = victim.cancel());
        let result = event_loop.run_until_complete(&task);
        assert!(matches!(result, Err(Exception::Cancelled)));
        drop(task);
        drop(event_loop);
        assert!(dropped.get());
    }

    #[test]
    fn wait_for_gives_up_what_never_ends() {
        let event_loop = event_loop();
        let never: Future<()> = event_loop.create_future();
        let waits = event_loop.clone();
        let task = event_loop.create_task(async move {
            let result = waits.wait_for(never, Duration::from_millis(1)).await;
            result.expect_err("it never ends").to_string()
        });
        let said = event_loop.run_until_complete(&task).unwrap();
        assert_eq!(said, io::Error::from(io::ErrorKind::TimedOut).to_string());
    }

    #[test]
    fn other_threads_have_one_door() {
        let event_loop = event_loop();
        let door = event_loop.threadsafe();
        let thread = thread::spawn(move || door.call_soon_threadsafe(EventLoop::stop));
        event_loop.run_forever();
        thread.join().unwrap();
    }

    #[test]
    fn coroutines_and_protocols_speak_on_the_same_loop() {
        struct Echo(Option<Transport>);
        impl Protocol for Echo {
            fn connection_made(&mut self, transport: &Transport) {
                self.0 = Some(transport.clone());
            }
            fn data_received(&mut self, data: &[u8]) {
                self.0.as_ref().expect("made first").write(data);
            }
            fn connection_lost(&mut self, _error: Option<io::Error>) {}
        }
        let event_loop = event_loop();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = event_loop.create_server(listener, || Echo(None)).unwrap();
        let connects = event_loop.clone();
        let task = event_loop.create_task(async move {
            let stream = connects.open_connection(address).await?;
            // More than a socket takes at once, so that the transport has to wait for it.
            let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
            stream.write(&sent);
            let (mut got, mut buf) = (Vec::new(), vec![0; 100_000]);
            while got.len() < sent.len() {
                let n = stream.read(&mut buf).await?;
                got.extend_from_slice(&buf[..n]);
            }
            Ok::<_, Exception>(got == sent)
        });
        assert!(matches!(event_loop.run_until_complete(&task), Ok(Ok(true))));
        server.close();
    }

    #[test]
    fn nobody_listening_is_an_exception_of_the_future() {
        let event_loop = event_loop();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let connects = event_loop.clone();
        let task = event_loop.create_task(async move {
            connects.open_connection(address).await.err().map(|e| e.to_string())
        });
        let said = event_loop.run_until_complete(&task).unwrap().unwrap();
        assert!(said.contains("refused"), "{said}");
    }
}
