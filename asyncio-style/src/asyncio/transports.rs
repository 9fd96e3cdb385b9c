//! Connections that call a protocol (`asyncio.transports`, `asyncio.protocols`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use common::limits::BUFFER;
use common::workload::server::{ACCEPT_BACKOFF, is_exhausted};

use super::event_loop::{EventLoop, TimerHandle};
use super::futures::Future;

/// The callbacks of a connection (`asyncio.Protocol`).
pub trait Protocol: 'static {
    /// The connection is made; the transport is for the answers.
    fn connection_made(&mut self, transport: &Transport);
    /// Bytes have arrived, cut anywhere.
    fn data_received(&mut self, data: &[u8]);
    /// The peer sends no more. Returns whether the transport stays open.
    fn eof_received(&mut self) -> bool {
        false
    }
    /// More than [`HIGH_WATER`] bytes are in the transport's buffer.
    fn pause_writing(&mut self) {}
    /// No more than [`LOW_WATER`] bytes are in it again.
    fn resume_writing(&mut self) {}
    /// The connection is over: called once, and last. Without an error, one of the two sides closed
    /// it.
    fn connection_lost(&mut self, error: Option<io::Error>);
}

/// If more bytes than this wait to be sent, the protocol is paused.
pub const HIGH_WATER: usize = 64 * 1024;

/// If no more bytes than this wait, it is resumed.
pub const LOW_WATER: usize = HIGH_WATER / 4;

/// At most this many connections are accepted in one turn (asyncio's `backlog`).
const ACCEPTED_AT_ONCE: usize = 100;

/// A connected socket and its buffer (`asyncio.Transport`).
#[derive(Clone)]
pub struct Transport(Rc<Channel>);

struct Channel {
    event_loop: EventLoop,
    /// Empty once the connection is lost: the socket is closed then.
    socket: RefCell<Option<Rc<TcpStream>>>,
    /// Empty after `connection_lost`: the protocol may own this transport.
    protocol: RefCell<Option<Box<dyn Protocol>>>,
    buffer: RefCell<VecDeque<u8>>,
    /// The number of the callback with which the loop closes it.
    on_close: Cell<u64>,
    reading_paused: Cell<bool>,
    eof: Cell<bool>,
    writing_paused: Cell<bool>,
    closing: Cell<bool>,
    lost: Cell<bool>,
}

impl Transport {
    /// Calls the protocol in the next turn, and then ends the wait for the connection. If the
    /// connection is no longer wanted, closes it instead.
    fn start(
        event_loop: &EventLoop,
        socket: Rc<TcpStream>,
        protocol: Box<dyn Protocol>,
        waiter: Option<Future<Transport>>,
    ) -> Transport {
        let transport = Transport(Rc::new(Channel {
            event_loop: event_loop.clone(),
            socket: RefCell::new(Some(socket)),
            protocol: RefCell::new(Some(protocol)),
            buffer: RefCell::default(),
            on_close: Cell::new(0),
            reading_paused: Cell::new(false),
            eof: Cell::new(false),
            writing_paused: Cell::new(false),
            closing: Cell::new(false),
            lost: Cell::new(false),
        }));
        let freed = transport.clone();
        transport.0.on_close.set(event_loop.on_close(move || freed.free()));
        let made = transport.clone();
        event_loop.call_soon(move || {
            if waiter.as_ref().is_some_and(Future::done) {
                return made.free();
            }
            made.tell(|protocol| protocol.connection_made(&made));
            made.start_reading();
            if let Some(waiter) = waiter {
                waiter.set_result(made);
            }
        });
        transport
    }

    /// Sends `data`, now or when the peer takes it. After `close`, the data is dropped.
    pub fn write(&self, data: &[u8]) {
        let Some(socket) = self.socket().filter(|_| !self.is_closing()) else { return };
        let waiting = !self.0.buffer.borrow().is_empty();
        self.0.buffer.borrow_mut().extend(data);
        if !waiting && !data.is_empty() {
            let again = self.clone();
            let event_loop = &self.0.event_loop;
            if let Err(error) = event_loop.add_writer(&socket, move || again.ready_to_write()) {
                return self.lose(Some(error));
            }
        }
        // In a turn of its own, like every call: the protocol itself may be the writer.
        if self.get_write_buffer_size() > HIGH_WATER && !self.0.writing_paused.replace(true) {
            self.tell_soon(Protocol::pause_writing);
        }
    }

    /// How many bytes wait to be sent.
    pub fn get_write_buffer_size(&self) -> usize {
        self.0.buffer.borrow().len()
    }

    /// Pauses the calls of `data_received`.
    pub fn pause_reading(&self) {
        self.0.reading_paused.set(true);
        self.stop_reading();
    }

    /// Resumes them.
    pub fn resume_reading(&self) {
        if self.0.reading_paused.replace(false) {
            self.start_reading();
        }
    }

    /// Closes the connection after everything written has been sent.
    pub fn close(&self) {
        if !self.0.closing.replace(true) {
            self.stop_reading();
            if self.0.buffer.borrow().is_empty() {
                self.lose(None);
            }
        }
    }

    /// Whether it is closed or closing.
    pub fn is_closing(&self) -> bool {
        self.0.closing.get() || self.0.lost.get()
    }

    fn socket(&self) -> Option<Rc<TcpStream>> {
        self.0.socket.borrow().clone()
    }

    /// A method of the protocol is never called inside another: every call comes from the loop.
    fn tell<R>(&self, what: impl FnOnce(&mut dyn Protocol) -> R) -> Option<R> {
        self.0.protocol.borrow_mut().as_deref_mut().map(what)
    }

    fn tell_soon(&self, what: impl FnOnce(&mut dyn Protocol) + 'static) {
        let told = self.clone();
        self.0.event_loop.call_soon(move || _ = told.tell(what));
    }

    fn start_reading(&self) {
        let wanted = !self.is_closing() && !self.0.reading_paused.get() && !self.0.eof.get();
        let Some(socket) = self.socket().filter(|_| wanted) else { return };
        let again = self.clone();
        if let Err(error) = self.0.event_loop.add_reader(&socket, move || again.ready_to_read()) {
            self.lose(Some(error));
        }
    }

    fn stop_reading(&self) {
        if let Some(socket) = self.socket() {
            self.0.event_loop.remove_reader(&*socket);
        }
    }

    fn ready_to_read(&self) {
        let Some(socket) = self.socket() else { return };
        let mut data = [0; BUFFER];
        match (&*socket).read(&mut data) {
            Ok(0) => {
                self.0.eof.set(true);
                self.stop_reading();
                if self.tell(Protocol::eof_received) != Some(true) {
                    self.close();
                }
            }
            Ok(n) => _ = self.tell(|protocol| protocol.data_received(&data[..n])),
            Err(error) if again(&error) => {}
            Err(error) => self.lose(Some(error)),
        }
    }

    fn ready_to_write(&self) {
        let Some(socket) = self.socket() else { return };
        let sent = (&*socket).write(self.0.buffer.borrow().as_slices().0);
        match sent {
            Ok(n) => drop(self.0.buffer.borrow_mut().drain(..n)),
            Err(error) if again(&error) => {}
            Err(error) => return self.lose(Some(error)),
        }
        let left = self.get_write_buffer_size();
        if left == 0 {
            self.0.event_loop.remove_writer(&*socket);
            if self.0.closing.get() {
                return self.lose(None);
            }
        }
        if left <= LOW_WATER && self.0.writing_paused.replace(false) {
            self.tell_soon(Protocol::resume_writing);
        }
    }

    fn lose(&self, error: Option<io::Error>) {
        if self.0.lost.replace(true) {
            return;
        }
        self.stop_watching();
        let lost = self.clone();
        self.0.event_loop.call_soon(move || {
            lost.tell(|protocol| protocol.connection_lost(error));
            lost.free();
        });
    }

    fn stop_watching(&self) {
        self.stop_reading();
        if let Some(socket) = self.socket() {
            self.0.event_loop.remove_writer(&*socket);
        }
    }

    /// Closes the socket, and drops the protocol, which may own this transport.
    fn free(&self) {
        self.0.lost.set(true);
        self.stop_watching();
        self.0.event_loop.forget(self.0.on_close.get());
        let freed = (self.0.socket.take(), self.0.protocol.take(), self.0.buffer.take());
        drop(freed);
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl EventLoop {
    /// Connects, then calls `protocol` (`loop.create_connection`). The result of the future is the
    /// transport. If it is cancelled, no connection stays open.
    pub fn create_connection(
        &self,
        address: SocketAddr,
        protocol: impl Protocol,
    ) -> Future<Transport> {
        let future = self.create_future();
        let socket = match begin_connecting(address) {
            Ok(socket) => Rc::new(socket),
            Err(error) => {
                future.set_exception(error);
                return future;
            }
        };
        let protocol = Cell::new(Some(Box::new(protocol) as Box<dyn Protocol>));
        let started = Rc::new(RefCell::new(None::<Transport>));
        let (waiter, event_loop) = (future.clone(), self.clone());
        let (connecting, starts) = (Rc::clone(&socket), Rc::clone(&started));
        let watched = self.add_writer(&socket, move || {
            event_loop.remove_writer(&*connecting);
            match (connecting.take_error(), protocol.take()) {
                (Ok(None), Some(protocol)) => {
                    let (socket, waiter) = (Rc::clone(&connecting), Some(waiter.clone()));
                    let transport = Transport::start(&event_loop, socket, protocol, waiter);
                    *starts.borrow_mut() = Some(transport);
                }
                (Ok(Some(error)) | Err(error), _) => waiter.set_exception(error),
                (Ok(None), None) => {}
            }
        });
        if let Err(error) = watched {
            future.set_exception(error);
        }
        // The future, if it is kept, does not keep the socket open.
        let (socket, event_loop) = (Rc::downgrade(&socket), self.clone());
        future.on_cancel(move || {
            if let Some(transport) = started.take() {
                transport.close();
            } else if let Some(socket) = socket.upgrade() {
                event_loop.remove_writer(&*socket);
            }
        });
        future
    }

    /// Accepts connections, with a new protocol for each (`loop.create_server`), until the server
    /// is closed.
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
        let serving = Rc::new(Serving {
            event_loop: self.clone(),
            listener: Rc::new(listener),
            factory: Box::new(move || Box::new(factory())),
            retry: RefCell::new(None),
        });
        serving.start()?;
        Ok(Server(serving))
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

/// A watched listener (`asyncio.Server`). It goes on when this is dropped.
pub struct Server(Rc<Serving>);

struct Serving {
    event_loop: EventLoop,
    listener: Rc<TcpListener>,
    factory: Box<dyn Fn() -> Box<dyn Protocol>>,
    retry: RefCell<Option<TimerHandle>>,
}

impl Server {
    /// Accepts no more connections. Those that are open stay open.
    pub fn close(self) {
        self.0.event_loop.remove_reader(&*self.0.listener);
        let retry = self.0.retry.take();
        if let Some(retry) = retry {
            retry.cancel();
        }
    }
}

impl Serving {
    fn start(self: &Rc<Self>) -> io::Result<()> {
        let accepting = Rc::clone(self);
        self.event_loop.add_reader(&self.listener, move || accepting.accept())
    }

    fn accept(self: &Rc<Self>) {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    if socket.set_nonblocking(true).is_ok() {
                        let (socket, protocol) = (Rc::new(socket), (self.factory)());
                        Transport::start(&self.event_loop, socket, protocol, None);
                    }
                }
                Err(error) if again(&error) => return,
                Err(error) if is_exhausted(&error) => return self.back_off(),
                Err(_) => {} // it is about a connection that was not accepted
            }
        }
    }

    /// No descriptor is left, and the listener remains ready: stops watching it for a while.
    fn back_off(self: &Rc<Self>) {
        self.event_loop.remove_reader(&*self.listener);
        let waiting = Rc::clone(self);
        let retry = self.event_loop.call_later(ACCEPT_BACKOFF, move || {
            waiting.retry.take();
            // What was watched before can be watched again.
            let _ = waiting.start();
        });
        *self.retry.borrow_mut() = Some(retry);
    }
}
