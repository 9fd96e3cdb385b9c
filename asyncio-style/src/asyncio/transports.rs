//! Connections that call a protocol (`asyncio.transports`, `asyncio.protocols`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use common::limits::BUFFER;

use super::event_loop::EventLoop;
use super::futures::Future;

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
