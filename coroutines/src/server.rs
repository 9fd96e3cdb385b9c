//! server: answer every connection at the same time.
//! One greenlet a connection, all on one thread: before each call that would block, it waits.
//! Run it: cargo run -p coroutines -- server

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::http::conn::{Conn, Wants};
use common::limits::BUFFER;
use common::limits::max_connections::OTHERS;
use common::workload::server::{REST, Served, Visit, is_exhausted};

use crate::coroutine::scheduler;
use crate::coroutine::source::Source;
use crate::coroutine::sync::Event;
use crate::coroutine::wait::{readable, wait, wait_any, writable};

pub fn run(listener: TcpListener, stop: UnixStream) -> io::Result<Served> {
    listener.set_nonblocking(true)?;
    let room = Rc::new(Room::default());
    while wait_any(&[readable(&stop), readable(&listener)], None)? == 1 {
        let begun = listener.accept().and_then(|(socket, _)| {
            let guest = Room::enter(&room, socket);
            scheduler::try_spawn(move || serve(guest))
        });
        match begun {
            Ok(task) => drop(task), // it goes on: the room knows when it ends
            Err(error) if is_exhausted(&error) => scheduler::sleep(REST),
            Err(_) => {} // whoever it was has gone again
        }
    }
    drop(listener);
    room.close()?;
    Ok(room.served.take())
}

fn serve(mut guest: Guest) {
    let Guest { socket, conn, room } = &mut guest;
    loop {
        if room.closing.is_set() {
            conn.finish();
        }
        if conn.wants() == Wants::Close {
            return;
        }
        let result = exchange(socket, conn, room);
        conn.done(result);
    }
}

/// Does what the connection wants next.
fn exchange(socket: &mut TcpStream, conn: &mut Conn, room: &Room) -> io::Result<()> {
    let mut buf = [0; BUFFER];
    if conn.wants() == Wants::Drain {
        socket.shutdown(Shutdown::Write)?;
    }
    match conn.wants() {
        Wants::Read | Wants::Drain => {
            room.wait(readable(socket), conn.patience())?;
            let n = socket.read(&mut buf)?;
            conn.received(&buf[..n]);
        }
        Wants::Write => {
            room.wait(writable(socket), conn.patience())?;
            let n = socket.write(conn.output())?;
            conn.sent(n);
        }
        Wants::Wait(pause) => room.rest(pause),
        Wants::Close => {}
    }
    Ok(())
}

/// Who is in, and how they learn that they have to leave.
#[derive(Default)]
struct Room {
    served: RefCell<Served>,
    closing: Event,
    empty: Event,
}

/// One connection, from its beginning until this is dropped.
struct Guest {
    socket: TcpStream,
    conn: Conn,
    room: Rc<Room>,
}

impl Room {
    fn enter(room: &Rc<Room>, socket: TcpStream) -> Guest {
        let mut served = room.served.borrow_mut();
        let full = served.open >= OTHERS;
        served.begin();
        let conn = if full { Conn::too_many() } else { Conn::new() };
        Guest { socket, conn, room: Rc::clone(room) }
    }

    /// Waits for a socket; or, once, until the room begins to close.
    fn wait(&self, socket: Source, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        if self.closing.is_set() {
            return wait(socket, deadline);
        }
        match wait_any(&[socket, Source::Event(&self.closing)], deadline)? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    /// Waits so long, or until the room begins to close.
    fn rest(&self, pause: Duration) {
        if self.closing.is_set() {
            return scheduler::sleep(pause);
        }
        let _ = wait(Source::Event(&self.closing), Instant::now() + pause);
    }

    /// Has everybody leave, which they do within the grace, and waits for it.
    fn close(&self) -> io::Result<()> {
        self.closing.set();
        if self.served.borrow().open > 0 {
            self.empty.clear();
            self.empty.wait()?;
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut served = self.room.served.borrow_mut();
        served.end(Visit::of(&self.conn));
        if served.open == 0 {
            self.room.empty.set();
        }
    }
}
