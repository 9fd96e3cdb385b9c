//! server: answer every connection at the same time.
//! One thread per connection: the OS parks a thread that waits and wakes it when it can go on.
//! Run it: cargo run -p threads -- server

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::http::conn::{Conn, Wants};
use common::limits::{BUFFER, Limits};
use common::workload::server::{ACCEPT_BACKOFF, ConnectionStats, ServerStats, is_exhausted};

pub fn run(listener: TcpListener, stop: UnixStream, limits: Limits) -> io::Result<ServerStats> {
    let shared = listener.try_clone()?;
    let stopping = thread::spawn(move || shut_down(stop, shared));
    let mut connections = Connections::default();
    while !stopping.is_finished() {
        connections.join_finished();
        if connections.tasks.len() >= limits.max_connections {
            thread::sleep(ACCEPT_BACKOFF); // the next one waits in the backlog
            continue;
        }
        let accepted = listener.accept();
        match accepted.and_then(|(socket, _)| connections.start(socket, limits)) {
            Err(error) if is_exhausted(&error) => thread::sleep(ACCEPT_BACKOFF),
            Ok(()) | Err(_) => {} // an error: the client has already disconnected
        }
    }
    stopping.join().expect("it catches its errors");
    Ok(connections.shut_down(limits.grace))
}

/// Waits for the end of `stop`, then shuts the listener down, which ends a wait in `accept`.
fn shut_down(mut stop: UnixStream, listener: TcpListener) {
    let _ = io::copy(&mut stop, &mut io::sink());
    let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
}

fn serve(connection: &Connection, limits: Limits) -> ConnectionStats {
    let mut conn = Conn::new(limits);
    // Set once: each write has the full time. A read has only what is left of its time.
    conn.done(connection.socket.set_write_timeout(Some(limits.write)));
    loop {
        if connection.is_shutting_down(conn.is_idle()) {
            conn.shutdown_requested();
        }
        if conn.wants() == Wants::Close {
            return ConnectionStats::of(&conn);
        }
        let result = exchange(connection, &mut conn);
        conn.done(result);
    }
}

/// Does what the connection wants next.
fn exchange(connection: &Connection, conn: &mut Conn) -> io::Result<()> {
    let mut socket = &connection.socket;
    let mut buf = [0; BUFFER];
    match conn.wants() {
        Wants::Read => {
            socket.set_read_timeout(Some(conn.time_left()))?;
            let n = socket.read(&mut buf)?;
            conn.received(&buf[..n]);
        }
        Wants::Write => {
            let n = socket.write(conn.output())?;
            conn.sent(n);
        }
        Wants::ShutdownWrite => {
            socket.shutdown(Shutdown::Write)?;
            conn.write_shut();
        }
        Wants::Wait => {
            let guard = connection.shutdown.lock().expect("no holder panics");
            let waits = |shutdown: &mut bool| *shutdown == conn.is_shutting_down();
            let _ = connection.changed.wait_timeout_while(guard, conn.time_left(), waits);
        }
        Wants::Close => {}
    }
    Ok(())
}

/// An open connection. Its own thread waits for it, and `run` shuts it down.
struct Connection {
    socket: TcpStream,
    idle: AtomicBool,
    shutdown: Mutex<bool>,
    changed: Condvar,
}

impl Connection {
    /// Whether to shut down. An idle connection may be closed from now on.
    fn is_shutting_down(&self, idle: bool) -> bool {
        let shutdown = self.shutdown.lock().expect("no holder panics");
        self.idle.store(idle, Ordering::Relaxed);
        *shutdown
    }

    /// Only an event on its socket wakes a thread that waits for the socket.
    fn shut_down(&self, late: bool) {
        let mut shutdown = self.shutdown.lock().expect("no holder panics");
        *shutdown = true;
        self.changed.notify_one();
        if late || self.idle.load(Ordering::Relaxed) {
            let _ = self.socket.shutdown(if late { Shutdown::Both } else { Shutdown::Read });
        }
    }
}

/// The threads of the connections. Each owns its connection, and closes it when it ends.
#[derive(Default)]
struct Connections {
    tasks: Vec<(Weak<Connection>, JoinHandle<ConnectionStats>)>,
    stats: ServerStats,
}

impl Connections {
    fn start(&mut self, socket: TcpStream, limits: Limits) -> io::Result<()> {
        let (idle, shutdown, changed) = (true.into(), false.into(), Condvar::new());
        let connection = Arc::new(Connection { socket, idle, shutdown, changed });
        let shared = Arc::downgrade(&connection);
        let task = thread::Builder::new().spawn(move || serve(&connection, limits))?;
        self.tasks.push((shared, task));
        self.stats.begin();
        Ok(())
    }

    fn join_finished(&mut self) {
        for (_, task) in self.tasks.extract_if(.., |(_, task)| task.is_finished()) {
            // An error is a panic: it has been printed, and it ended only this connection.
            self.stats.end(task.join().unwrap_or_default());
        }
    }

    /// Idle connections close at once, the others after their answer, all within the grace period.
    fn shut_down(mut self, grace: Duration) -> ServerStats {
        let deadline = Instant::now() + grace;
        while !self.tasks.is_empty() {
            let late = Instant::now() >= deadline;
            let connections = self.tasks.iter().filter_map(|(connection, _)| connection.upgrade());
            connections.for_each(|connection| connection.shut_down(late));
            thread::sleep(Duration::from_millis(10)); // a join has no timeout
            self.join_finished();
        }
        self.stats
    }
}
