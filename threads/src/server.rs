//! server: answer every connection at the same time.
//! One thread a connection: the OS parks a thread that waits and wakes it when there is news.
//! Run it: cargo run -p threads -- server

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::http::conn::{Conn, GRACE, Wants};
use common::limits::BUFFER;
use common::limits::max_connections::THREADS;
use common::workload::server::{REST, Served, Visit, is_exhausted};

pub fn run(listener: TcpListener, stop: UnixStream) -> io::Result<Served> {
    let room = Arc::new(Room::default());
    let (door, theirs) = (listener.try_clone()?, Arc::clone(&room));
    let closing = thread::spawn(move || theirs.close(stop, door));
    let mut tasks = Vec::new();
    while room.has_space() {
        let begun = listener.accept().and_then(|(socket, _)| {
            let guest = Room::enter(&room, socket);
            thread::Builder::new().spawn(move || serve(guest))
        });
        match begun {
            Ok(task) => tasks.push(task),
            Err(error) if is_exhausted(&error) => room.rest(REST),
            Err(_) => {} // whoever it was has gone again
        }
        // Now and then: a server that runs for a year keeps no list of all it ever did.
        if tasks.len() > 2 * room.lock().served.open + 100 {
            tasks.extract_if(.., |task| task.is_finished()).for_each(join);
        }
    }
    tasks.into_iter().for_each(join);
    join(closing);
    Ok(room.lock().served.clone())
}

fn join(task: JoinHandle<()>) {
    // An error is a panic: it has been printed, and was the end of one connection only.
    let _ = task.join();
}

fn serve(mut guest: Guest) {
    let Guest { socket, conn, room } = &mut guest;
    loop {
        if room.is_closing(socket, conn.is_idle()) {
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
fn exchange(mut socket: &TcpStream, conn: &mut Conn, room: &Room) -> io::Result<()> {
    let mut buf = [0; BUFFER];
    if conn.wants() == Wants::Drain {
        socket.shutdown(Shutdown::Write)?;
    }
    match conn.wants() {
        Wants::Read | Wants::Drain => {
            socket.set_read_timeout(Some(conn.patience()))?;
            let n = socket.read(&mut buf)?;
            conn.received(&buf[..n]);
        }
        Wants::Write => {
            socket.set_write_timeout(Some(conn.patience()))?;
            let n = socket.write(conn.output())?;
            conn.sent(n);
        }
        Wants::Wait(pause) => room.rest(pause),
        Wants::Close => {}
    }
    Ok(())
}

/// Who is in. A thread that waits for its socket is woken only by what happens to the socket, so
/// whoever closes the room must have that in reach.
#[derive(Default)]
struct Room {
    book: Mutex<Book>,
    closes: Condvar,
    leaves: Condvar,
}

#[derive(Default)]
struct Book {
    /// By descriptor: the socket, and whether nothing is asked on it.
    guests: HashMap<RawFd, (Arc<TcpStream>, bool)>,
    closing: bool,
    served: Served,
}

/// One connection, from its beginning until this is dropped.
struct Guest {
    socket: Arc<TcpStream>,
    conn: Conn,
    room: Arc<Room>,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics with the lock")
    }

    /// Waits for a place; the next connection waits in the listener meanwhile. False at the end.
    fn has_space(&self) -> bool {
        let full = |book: &mut Book| book.served.open >= THREADS && !book.closing;
        let book = self.leaves.wait_while(self.lock(), full);
        !book.expect("nobody panics with the lock").closing
    }

    /// Waits so long, or until the room begins to close.
    fn rest(&self, pause: Duration) {
        let book = self.lock();
        let closing = book.closing;
        let _ = self.closes.wait_timeout_while(book, pause, |book| book.closing == closing);
    }

    fn enter(room: &Arc<Room>, socket: TcpStream) -> Guest {
        let (socket, mut book) = (Arc::new(socket), room.lock());
        book.guests.insert(socket.as_raw_fd(), (Arc::clone(&socket), true));
        book.served.begin();
        Guest { socket, conn: Conn::new(), room: Arc::clone(room) }
    }

    /// Whether guests have to leave; one who asks for nothing may be shown out from now on.
    fn is_closing(&self, socket: &TcpStream, idle: bool) -> bool {
        let mut book = self.lock();
        book.guests.entry(socket.as_raw_fd()).and_modify(|guest| guest.1 = idle);
        book.closing
    }

    /// Waits for the end of `stop`. Then everybody leaves: at once who asks for nothing, after the
    /// grace all the others.
    fn close(&self, mut stop: UnixStream, door: TcpListener) {
        let _ = io::copy(&mut stop, &mut io::sink());
        let mut book = self.lock();
        book.closing = true;
        self.closes.notify_all();
        self.leaves.notify_all();
        // A listener is a socket too: whoever waits in accept is woken.
        let _ = TcpStream::from(OwnedFd::from(door)).shutdown(Shutdown::Both);
        for (socket, _) in book.guests.values().filter(|(_, idle)| *idle) {
            let _ = socket.shutdown(Shutdown::Read);
        }
        let inside = |book: &mut Book| !book.guests.is_empty();
        let waited = self.leaves.wait_timeout_while(book, GRACE, inside);
        let (book, _) = waited.expect("nobody panics with the lock");
        for (socket, _) in book.guests.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut book = self.room.lock();
        book.guests.remove(&self.socket.as_raw_fd());
        book.served.end(Visit::of(&self.conn));
        self.room.leaves.notify_all();
    }
}
