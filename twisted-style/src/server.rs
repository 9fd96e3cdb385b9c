//! server: answer every connection at the same time.
//! One protocol a connection, all on one thread: the reactor calls it when something has happened.
//! Run it: cargo run -p twisted-style -- server

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use common::http::conn::{Conn, Wants};
use common::limits::max_connections::OTHERS;
use common::workload::server::{Served, Visit};

use crate::twisted::defer::{Deferred, Resolver, succeed};
use crate::twisted::protocol::{Factory, Protocol};
use crate::twisted::reactor::{Reactor, SystemEvent};
use crate::twisted::transport::Transport;

pub fn run(reactor: &Reactor, listener: TcpListener, stop: UnixStream) -> io::Result<Served> {
    let room = Rc::new(Room::default());
    let port = reactor.listen_tcp(listener, Pages(Rc::clone(&room)))?;
    let (stopping, closing) = (reactor.clone(), Rc::clone(&room));
    let end = reactor.add_reader(stop, move || stopping.stop())?;
    reactor.add_system_event_trigger(SystemEvent::BeforeShutdown, move || {
        end.remove();
        port.stop_listening();
        closing.close()
    });
    reactor.run();
    Ok(room.served.take())
}

/// Makes a protocol for each connection.
struct Pages(Rc<Room>);

impl Factory for Pages {
    type Protocol = Guest;

    fn build_protocol(&mut self, _peer: SocketAddr) -> Option<Guest> {
        Some(serve(&self.0))
    }
}

fn serve(room: &Rc<Room>) -> Guest {
    let mut served = room.served.borrow_mut();
    let full = served.open >= OTHERS;
    served.begin();
    let conn = if full { Conn::too_many() } else { Conn::new() };
    let (conn, socket) = (RefCell::new(conn), RefCell::new(None));
    let line = Rc::new(Line { conn, socket, written: Cell::new(0) });
    let number = room.next.replace(room.next.get() + 1);
    room.lines.borrow_mut().insert(number, Rc::clone(&line));
    Guest { number, line, room: Rc::clone(room) }
}

impl Protocol for Guest {
    fn connection_made(&mut self, socket: &Transport) {
        socket.pull_producing();
        self.line.socket.replace(Some(socket.clone()));
        exchange(&self.line);
    }

    fn data_received(&mut self, _socket: &Transport, buf: &[u8]) {
        self.line.conn.borrow_mut().received(buf);
        exchange(&self.line);
    }

    fn read_connection_lost(&mut self, _socket: &Transport) {
        self.line.conn.borrow_mut().received(&[]);
        exchange(&self.line);
    }

    fn resume_producing(&mut self, _socket: &Transport) {
        exchange(&self.line);
    }

    fn timeout_connection(&mut self, _socket: &Transport) {
        let late = io::ErrorKind::TimedOut.into();
        self.line.conn.borrow_mut().done(Err(late));
        exchange(&self.line);
    }

    fn connection_lost(&mut self, _reason: io::Result<()>) {
        self.room.leave(self);
    }
}

/// What a connection wants, and what it is done with. The room has it as well: whoever closes
/// that tells everybody.
struct Line {
    conn: RefCell<Conn>,
    socket: RefCell<Option<Transport>>,
    /// How many bytes the socket has taken that it may not have sent yet.
    written: Cell<usize>,
}

/// Does what the connection wants next. Says what it waits for, and returns.
fn exchange(line: &Line) {
    let socket = line.socket.borrow();
    let Some(socket) = &*socket else { return };
    let mut conn = line.conn.borrow_mut();
    let n = line.written.replace(socket.buffered()) - socket.buffered();
    conn.sent(n);
    match conn.wants() {
        Wants::Read => socket.resume_producing(),
        Wants::Write if line.written.get() > 0 => {}
        Wants::Write => {
            // No more is read until this is sent: then `resume_producing` is called.
            socket.pause_producing();
            socket.write(conn.output());
            line.written.set(conn.output().len());
        }
        Wants::Wait(pause) => {
            socket.pause_producing();
            return socket.set_timeout(Some(pause));
        }
        Wants::Drain => {
            socket.lose_write_connection();
            socket.resume_producing();
        }
        Wants::Close if socket.buffered() == 0 => socket.lose_connection(),
        Wants::Close => socket.abort_connection(), // the answer is not whole: an error says so
    }
    socket.set_timeout(Some(conn.patience()));
}

/// Who is in.
#[derive(Default)]
struct Room {
    /// By the number of their connection.
    lines: RefCell<HashMap<u64, Rc<Line>>>,
    next: Cell<u64>,
    served: RefCell<Served>,
    /// To be fired when the last has left.
    empty: Cell<Option<Resolver<()>>>,
}

/// One connection, from its beginning to its end.
struct Guest {
    number: u64,
    line: Rc<Line>,
    room: Rc<Room>,
}

impl Room {
    fn leave(&self, guest: &Guest) {
        self.lines.borrow_mut().remove(&guest.number);
        let mut served = self.served.borrow_mut();
        served.end(Visit::of(&guest.line.conn.borrow()));
        if served.open == 0
            && let Some(empty) = self.empty.take()
        {
            drop(served);
            empty.callback(());
        }
    }

    /// Has everybody leave, which they do within the grace, and fires when they have.
    fn close(&self) -> Deferred<()> {
        if self.served.borrow().open == 0 {
            return succeed(());
        }
        for line in self.lines.borrow().values() {
            line.conn.borrow_mut().finish();
            exchange(line);
        }
        let (empty, left) = Deferred::new();
        self.empty.set(Some(empty));
        left
    }
}
