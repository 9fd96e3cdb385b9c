//! server: answer every connection at the same time.
//! One greenlet per connection, all on one thread: before a call that would block, it waits.
//! Run it: cargo run -p coroutines -- server

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;

use common::http::conn::{Conn, Wants};
use common::limits::{BUFFER, Limits};
use common::workload::server::{ACCEPT_BACKOFF, ConnectionStats, ServerStats, is_exhausted};

use crate::coroutine::scheduler::{self, Task, sleep};
use crate::coroutine::source::Source;
use crate::coroutine::sync::Event;
use crate::coroutine::wait::{readable, wait_any, writable};

pub fn run(listener: TcpListener, stop: UnixStream, limits: Limits) -> io::Result<ServerStats> {
    listener.set_nonblocking(true)?;
    let shutdown = Rc::new(Event::new());
    let mut connections = Connections::default();
    while wait_any(&[readable(&stop), readable(&listener)], None)? == 1 {
        let accepted = listener.accept();
        match accepted.and_then(|(socket, _)| connections.start(socket, &shutdown, limits)) {
            Err(error) if is_exhausted(&error) => sleep(ACCEPT_BACKOFF),
            Ok(()) | Err(_) => {} // an error: the client has already disconnected
        }
    }
    drop(listener);
    // The connections close within the grace period.
    shutdown.set();
    Ok(connections.join())
}

fn serve(socket: &TcpStream, mut conn: Conn, shutdown: &Event) -> ConnectionStats {
    conn.done(socket.set_nonblocking(true));
    while conn.wants() != Wants::Close {
        let result = exchange(socket, &mut conn, shutdown);
        conn.done(result);
    }
    ConnectionStats::of(&conn)
}

/// Does what the connection wants next.
fn exchange(mut socket: &TcpStream, conn: &mut Conn, shutdown: &Event) -> io::Result<()> {
    let mut buf = [0; BUFFER];
    match conn.wants() {
        Wants::Read => {
            wait_for(Some(readable(&socket)), conn, shutdown)?;
            let n = socket.read(&mut buf)?;
            conn.received(&buf[..n]);
        }
        // Most writes do not block, so this one is tried before it waits.
        Wants::Write => match socket.write(conn.output()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for(Some(writable(&socket)), conn, shutdown)?;
            }
            written => {
                conn.sent(written?);
                scheduler::yield_now(); // a peer that reads fast must not keep out the others
            }
        },
        Wants::ShutdownWrite => {
            socket.shutdown(Shutdown::Write)?;
            conn.write_shut();
        }
        Wants::Wait => wait_for(None, conn, shutdown)?,
        Wants::Close => {}
    }
    Ok(())
}

/// Waits for the socket. The shutdown ends one wait too, and the connection is told.
fn wait_for(socket: Option<Source>, conn: &mut Conn, shutdown: &Event) -> io::Result<()> {
    let end = (!conn.is_shutting_down()).then_some(Source::Event(shutdown));
    let sources: Vec<Source> = socket.into_iter().chain(end).collect();
    wait_any(&sources, Instant::now() + conn.time_left())?;
    if shutdown.is_set() {
        conn.shutdown_requested();
    }
    Ok(())
}

/// The open connections, one greenlet each.
#[derive(Default)]
struct Connections {
    tasks: Vec<Task<ConnectionStats>>,
    stats: ServerStats,
}

impl Connections {
    fn start(&mut self, socket: TcpStream, shutdown: &Rc<Event>, limits: Limits) -> io::Result<()> {
        self.join_finished();
        let full = self.tasks.len() >= limits.max_connections;
        let conn = if full { Conn::too_many(limits) } else { Conn::new(limits) };
        let shutdown = Rc::clone(shutdown);
        self.tasks.push(scheduler::try_spawn(move || serve(&socket, conn, &shutdown))?);
        self.stats.begin();
        Ok(())
    }

    fn join_finished(&mut self) {
        for task in self.tasks.extract_if(.., |task| task.is_finished()) {
            // An error is a panic: it has been printed, and it ended only this connection.
            self.stats.end(task.join().unwrap_or_default());
        }
    }

    fn join(mut self) -> ServerStats {
        for task in self.tasks {
            self.stats.end(task.join().unwrap_or_default());
        }
        self.stats
    }
}
