//! Listeners and connections of the reactor (`twisted.internet.tcp`).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};
use polling::Event;

use super::clock::ReactorTime;
use super::connection::{Connection, Waits};
use super::protocol::{Factory, Protocol};
use super::selector::{Selector, Source};
use super::transport::{Changed, Transport};

/// How many bytes are read from one connection before the others have their turn
/// (`tcp.Connection.bufferSize`).
pub(crate) const READ: usize = 64 * 1024;

/// How many connections a listener accepts before the others have their turn
/// (`tcp.Port.numberAccepts`).
const ACCEPT: usize = 64;

/// How long a listener waits when the process has no descriptor left for another connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

type BuildProtocol = Box<dyn FnMut(SocketAddr) -> Option<Box<dyn Protocol>>>;

/// What listeners and connections need of their reactor. A clone uses the same reactor.
#[derive(Clone)]
pub(super) struct Tcp {
    pub(super) selector: Rc<Selector>,
    pub(super) clock: ReactorTime,
    pub(super) changed: Changed,
}

impl Tcp {
    pub(super) fn listen(
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
            tcp: self.clone(),
            key: self.selector.reserve(),
            listener,
            build_protocol: RefCell::new(Box::new(build)),
            closed: Cell::new(false),
        });
        self.selector.insert_reading(port.key, port.clone())?;
        Ok(ListeningPort(Rc::downgrade(&port)))
    }

    /// The transport of a connection that is to be made.
    pub(super) fn transport(&self, peer: SocketAddr) -> Transport {
        let (clock, changed) = (self.clock.clone(), self.changed.clone());
        Transport::new(self.selector.reserve(), peer, clock, changed)
    }

    /// Begins to connect. The protocol is called when the connection is made, or has failed.
    pub(super) fn connect(&self, transport: Transport, protocol: Box<dyn Protocol>) {
        // It may have been cancelled already.
        let socket = transport.check().and_then(|()| begin_connecting(transport.peer()));
        match socket {
            Ok(socket) => drop(self.adopt(socket, transport, protocol)),
            Err(error) => {
                self.selector.release(transport.key());
                Connection::<TcpStream>::never(&transport, protocol, error);
            }
        }
    }

    fn adopt(
        &self,
        socket: TcpStream,
        transport: Transport,
        protocol: Box<dyn Protocol>,
    ) -> Rc<TcpConnection> {
        let key = transport.key();
        let connection = Rc::new(TcpConnection {
            selector: self.selector.clone(),
            connection: Connection::new(socket, transport, protocol),
            watched: Cell::new((false, false)),
        });
        self.selector.insert(key, connection.clone());
        connection
    }
}

/// A connection, and whether it is watched for reading and for writing.
struct TcpConnection {
    selector: Rc<Selector>,
    connection: Connection<TcpStream>,
    watched: Cell<(bool, bool)>,
}

impl AsFd for TcpConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.wire.as_fd()
    }
}

impl Source for TcpConnection {
    fn ready(self: Rc<Self>, event: Event, buffer: &mut [u8]) {
        let connection = &self.connection;
        if connection.transport.is_over() {
            // A callback of this same turn has closed it.
        } else if !connection.is_made() {
            match connection.wire.take_error() {
                Ok(None) => connection.made(),
                Ok(Some(error)) | Err(error) => connection.transport.fail_connection(error),
            }
        } else if event.readable {
            connection.readable(buffer);
        }
        if event.writable {
            self.settle();
        }
    }

    fn settle(&self) {
        let key = self.connection.transport.key();
        match self.connection.settle() {
            Waits::For { read, write } => {
                if let Err(error) = self.watch(Event::new(key, read, write)) {
                    self.connection.transport.fail_connection(error);
                }
            }
            Waits::Over => {
                if self.selector.remove(key).is_some() {
                    self.connection.lost();
                }
            }
        }
    }

    fn disconnect(&self) {
        self.connection.transport.abort_connection();
        self.connection.lost();
    }
}

impl TcpConnection {
    fn watch(&self, event: Event) -> io::Result<()> {
        let (before, now) = (self.watched.get(), (event.readable, event.writable));
        if before == now {
            return Ok(());
        }
        match (before, now) {
            ((false, false), _) => self.selector.watch(self, event)?,
            // "No events" is not enough: epoll still reports a disconnected peer, again and again.
            (_, (false, false)) => self.selector.unwatch(self),
            _ => self.selector.rewatch(self, event)?,
        }
        self.watched.set(now);
        Ok(())
    }
}

struct Port {
    tcp: Tcp,
    key: usize,
    listener: TcpListener,
    build_protocol: RefCell<BuildProtocol>,
    closed: Cell<bool>,
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Source for Port {
    fn ready(self: Rc<Self>, _: Event, _: &mut [u8]) {
        for _ in 0..ACCEPT {
            if self.closed.get() {
                return; // by the protocol that was just built
            }
            match self.listener.accept() {
                Ok((socket, peer)) => self.accepted(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_out_of_resources(&error) => return self.back_off(),
                Err(_) => {} // the client has already disconnected
            }
        }
    }
}

impl Port {
    fn accepted(&self, socket: TcpStream, peer: SocketAddr) {
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        // If a factory panics, only this connection is refused.
        let build = || (self.build_protocol.borrow_mut())(peer);
        if let Ok(Some(protocol)) = catch_unwind(AssertUnwindSafe(build)) {
            let transport = self.tcp.transport(peer);
            self.tcp.adopt(socket, transport, protocol).connection.made();
        }
    }

    /// Stops watching the listener for a while: it stays readable, and the reactor would spin.
    fn back_off(self: &Rc<Self>) {
        self.tcp.selector.unwatch(&**self);
        let port = Rc::downgrade(self);
        self.tcp.clock.call_later(ACCEPT_BACKOFF, move || {
            let Some(port) = port.upgrade() else { return };
            if port.tcp.selector.watch(&*port, Event::readable(port.key)).is_err() {
                port.back_off();
            }
        });
    }
}

/// A listener in the reactor (`IListeningPort`). Dropping it does not close the listener.
pub struct ListeningPort(Weak<Port>);

impl ListeningPort {
    /// Accepts no more connections and closes the listener. Connections that are open stay open.
    pub fn stop_listening(&self) {
        let Some(port) = self.0.upgrade() else { return };
        port.closed.set(true);
        port.tcp.selector.remove(port.key);
    }
}

/// A connection that is being made (`IConnector`).
pub struct Connector(pub(super) Transport);

impl Connector {
    /// Stops connecting, or closes the connection at once if it has been made.
    pub fn disconnect(&self) {
        self.0.abort_connection();
    }
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

/// Not the fault of the connection: it lasts until something is closed.
fn is_out_of_resources(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}
