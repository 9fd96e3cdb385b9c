//! server: answer every connection at the same time.
//! One protocol per connection, all on one thread: the reactor calls it when something has happened.
//! Run it: cargo run -p twisted-style -- server

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use common::http::conn::{Conn, Wants};
use common::limits::Limits;
use common::workload::server::{ConnectionStats, ServerStats};

use crate::twisted::defer::{Deferred, Resolver, succeed};
use crate::twisted::protocol::{Factory, Protocol};
use crate::twisted::reactor::{Reactor, SystemEvent};
use crate::twisted::transport::Transport;

pub fn run(
    reactor: &Reactor,
    listener: TcpListener,
    stop: UnixStream,
    limits: Limits,
) -> io::Result<ServerStats> {
    let connections = Rc::new(Connections::new(limits));
    let port = reactor.listen_tcp(listener, Pages(Rc::clone(&connections)))?;
    let (stopping, closing) = (reactor.clone(), Rc::clone(&connections));
    let end = reactor.add_reader(stop, move || stopping.stop())?;
    reactor.add_system_event_trigger(SystemEvent::BeforeShutdown, move || {
        end.remove();
        port.stop_listening();
        closing.shut_down()
    });
    reactor.run();
    Ok(connections.stats.take())
}

/// Makes a protocol for each connection.
struct Pages(Rc<Connections>);

impl Factory for Pages {
    type Protocol = HttpChannel;

    fn build_protocol(&mut self, _peer: SocketAddr) -> Option<HttpChannel> {
        Some(serve(&self.0))
    }
}

fn serve(connections: &Rc<Connections>) -> HttpChannel {
    let mut stats = connections.stats.borrow_mut();
    let limits = connections.limits;
    let full = stats.open >= limits.max_connections;
    stats.begin();
    let conn = if full { Conn::too_many(limits) } else { Conn::new(limits) };
    let (conn, socket) = (RefCell::new(conn), RefCell::new(None));
    let connection = Rc::new(Connection { conn, socket, written: Cell::new(0) });
    let number = connections.next.replace(connections.next.get() + 1);
    connections.open.borrow_mut().insert(number, Rc::clone(&connection));
    HttpChannel { number, connection, connections: Rc::clone(connections) }
}

/// The protocol of one connection.
struct HttpChannel {
    number: u64,
    connection: Rc<Connection>,
    connections: Rc<Connections>,
}

impl Protocol for HttpChannel {
    fn connection_made(&mut self, socket: &Transport) {
        socket.pull_producing();
        self.connection.socket.replace(Some(socket.clone()));
        exchange(&self.connection);
    }

    fn data_received(&mut self, _socket: &Transport, buf: &[u8]) {
        self.connection.conn.borrow_mut().received(buf);
        exchange(&self.connection);
    }

    fn read_connection_lost(&mut self, _socket: &Transport) {
        self.connection.conn.borrow_mut().received(&[]);
        exchange(&self.connection);
    }

    fn resume_producing(&mut self, _socket: &Transport) {
        exchange(&self.connection);
    }

    fn timeout_connection(&mut self, _socket: &Transport) {
        let late = io::ErrorKind::TimedOut.into();
        self.connection.conn.borrow_mut().done(Err(late));
        exchange(&self.connection);
    }

    fn connection_lost(&mut self, _reason: io::Result<()>) {
        self.connections.remove(self);
    }
}

/// An open connection: its protocol calls it, and so does the shutdown.
struct Connection {
    conn: RefCell<Conn>,
    socket: RefCell<Option<Transport>>,
    /// How many bytes the socket was given that it may not have sent yet.
    written: Cell<usize>,
}

/// Does what the connection wants next. Says what it waits for, and returns.
fn exchange(connection: &Connection) {
    let socket = connection.socket.borrow();
    let Some(socket) = &*socket else { return };
    let mut conn = connection.conn.borrow_mut();
    let n = connection.written.replace(socket.buffered()) - socket.buffered();
    conn.sent(n);
    match conn.wants() {
        Wants::Read => socket.resume_producing(),
        Wants::Write if connection.written.get() > 0 => {}
        Wants::Write => {
            // No more is read until this is sent: then `resume_producing` is called.
            socket.pause_producing();
            socket.write(conn.output());
            connection.written.set(conn.output().len());
        }
        Wants::ShutdownWrite => {
            socket.lose_write_connection();
            conn.write_shut();
            socket.resume_producing();
        }
        Wants::Wait => socket.pause_producing(),
        Wants::Close if socket.buffered() == 0 => socket.lose_connection(),
        Wants::Close => socket.abort_connection(), // a reset says that the answer is not whole
    }
    socket.set_timeout(Some(conn.time_left()));
}

/// The open connections.
struct Connections {
    limits: Limits,
    /// By their number.
    open: RefCell<HashMap<u64, Rc<Connection>>>,
    next: Cell<u64>,
    stats: RefCell<ServerStats>,
    /// Fires when the last one has closed.
    closed: Cell<Option<Resolver<()>>>,
}

impl Connections {
    fn new(limits: Limits) -> Connections {
        let (open, next) = (RefCell::default(), Cell::new(0));
        Connections { limits, open, next, stats: RefCell::default(), closed: Cell::new(None) }
    }

    fn remove(&self, channel: &HttpChannel) {
        self.open.borrow_mut().remove(&channel.number);
        let mut stats = self.stats.borrow_mut();
        stats.end(ConnectionStats::of(&channel.connection.conn.borrow()));
        if stats.open == 0
            && let Some(closed) = self.closed.take()
        {
            drop(stats);
            closed.callback(());
        }
    }

    /// Idle connections close at once, the others after their answer, all within the grace period.
    fn shut_down(&self) -> Deferred<()> {
        if self.stats.borrow().open == 0 {
            return succeed(());
        }
        for connection in self.open.borrow().values() {
            connection.conn.borrow_mut().shutdown_requested();
            exchange(connection);
        }
        let (closed, all_closed) = Deferred::new();
        self.closed.set(Some(closed));
        all_closed
    }
}
