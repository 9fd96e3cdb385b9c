//! server: answer every connection at the same time.
//! One task a connection, all on one thread: `.await` hands the thread back to the loop.
//! Run it: cargo run -p asyncio-style -- --loop async-std server

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::net::{self, Shutdown};
use std::os::unix;
use std::rc::Rc;
use std::time::Duration;

use async_std::channel::{Receiver, Sender, bounded};
use async_std::io::{ReadExt, WriteExt};
use async_std::net::{TcpListener, TcpStream};
use async_std::os::unix::net::UnixStream;
use async_std::prelude::FutureExt;

use common::http::conn::{Conn, Wants};
use common::limits::BUFFER;
use common::limits::max_connections::OTHERS;
use common::workload::server::{REST, Served, Visit, is_exhausted};

use super::task::{self, sleep};

pub async fn run(listener: net::TcpListener, stop: unix::net::UnixStream) -> io::Result<Served> {
    let listener = TcpListener::from(listener);
    let stop = UnixStream::from(stop);
    let room = Rc::new(Room::new());
    let closing = task::spawn_local(Room::close(Rc::clone(&room), stop));
    while !room.closing.get() {
        let accepted = listener.accept().race(room.closes()).await;
        match accepted {
            Ok((socket, _)) => {
                let guest = Room::enter(&room, socket);
                task::spawn_local(serve(guest)); // the room knows when it ends
            }
            Err(error) if is_exhausted(&error) => sleep(REST).await,
            Err(_) => {} // whoever it was has gone again
        }
    }
    drop(listener);
    closing.await;
    Ok(room.served.take())
}

async fn serve(mut guest: Guest) {
    let Guest { socket, conn, room } = &mut guest;
    loop {
        if room.closing.get() {
            conn.finish();
        }
        if conn.wants() == Wants::Close {
            return;
        }
        let patience = conn.patience();
        let result = exchange(socket, conn);
        let result = result.race(late(patience)).race(room.closes()).await;
        conn.done(result);
    }
}

async fn late(patience: Duration) -> io::Result<()> {
    sleep(patience).await;
    Err(io::ErrorKind::TimedOut.into())
}

/// Does what the connection wants next.
async fn exchange(socket: &mut TcpStream, conn: &mut Conn) -> io::Result<()> {
    let mut buf = [0; BUFFER];
    if conn.wants() == Wants::Drain {
        socket.shutdown(Shutdown::Write)?;
    }
    match conn.wants() {
        Wants::Read | Wants::Drain => {
            let n = socket.read(&mut buf).await?;
            conn.received(&buf[..n]);
        }
        Wants::Write => {
            let n = socket.write(conn.output()).await?;
            conn.sent(n);
        }
        Wants::Wait(pause) => sleep(pause).await,
        Wants::Close => {}
    }
    Ok(())
}

/// Who is in, and how they learn that they have to leave.
struct Room {
    served: RefCell<Served>,
    closing: Cell<bool>,
    bell: (Sender<()>, Receiver<()>),
    left: (Sender<()>, Receiver<()>),
}

/// One connection, from its beginning until this is dropped.
struct Guest {
    socket: TcpStream,
    conn: Conn,
    room: Rc<Room>,
}

impl Room {
    fn new() -> Room {
        let (served, closing) = (RefCell::default(), Cell::new(false));
        Room { served, closing, bell: bounded(1), left: bounded(1) }
    }

    fn enter(room: &Rc<Room>, socket: TcpStream) -> Guest {
        let mut served = room.served.borrow_mut();
        let full = served.open >= OTHERS;
        served.begin();
        let conn = if full { Conn::too_many() } else { Conn::new() };
        Guest { socket, conn, room: Rc::clone(room) }
    }

    /// Interrupts whoever waits, once: when the room begins to close.
    async fn closes<T>(&self) -> io::Result<T> {
        if self.closing.get() {
            return pending().await;
        }
        let _ = self.bell.1.recv().await;
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Waits for the end of `stop`. Then everybody leaves, within the grace.
    async fn close(room: Rc<Room>, mut stop: UnixStream) {
        let _ = stop.read(&mut [0]).await;
        room.closing.set(true);
        room.bell.0.close();
        while room.served.borrow().open > 0 {
            let _ = room.left.1.recv().await;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.room.served.borrow_mut().end(Visit::of(&self.conn));
        let _ = self.room.left.0.try_send(());
    }
}
