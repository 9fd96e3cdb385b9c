//! server: answer every connection at the same time.
//! One process per connection: the OS parks a process that waits and wakes it when it can go on.
//! Run it: cargo run -p processes -- server

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use common::http::conn::{Conn, Wants};
use common::limits::{BUFFER, Limits};
use common::workload::server::{ACCEPT_BACKOFF, ConnectionStats, ServerStats, is_exhausted};

use crate::multiprocessing::process::{self, Process};

pub fn run(listener: TcpListener, stop: UnixStream, limits: Limits) -> io::Result<ServerStats> {
    listener.set_nonblocking(true)?;
    let mut connections = Connections::default();
    loop {
        connections.join_finished();
        // When there are too many, the next one waits in the backlog.
        let full = connections.tasks.len() >= limits.max_connections;
        let arrives = if full { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut sources = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        sources.push(PollFd::new(listener.as_fd(), arrives));
        // A process that ends is joined at once, so that it does not stay a zombie.
        let ends =
            connections.tasks.iter().map(|task| PollFd::new(task.as_fd(), PollFlags::POLLIN));
        sources.extend(ends);
        let _ = poll(&mut sources, PollTimeout::NONE); // an error: a signal interrupted it
        if sources[0].any() == Some(true) {
            break;
        }
        if sources[1].any() != Some(true) {
            continue;
        }
        let accepted = listener.accept();
        match accepted.and_then(|(socket, _)| connections.start(&socket, &stop, limits)) {
            Err(error) if is_exhausted(&error) => sleep(ACCEPT_BACKOFF),
            Ok(()) | Err(_) => {} // an error: the client has already disconnected
        }
    }
    // Dropping it is not enough: the connections' processes have copies of it.
    TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both)?;
    // The connections see the end of `stop` too, and close within the grace period.
    Ok(connections.shut_down(limits.grace))
}

fn serve(socket: &TcpStream, stop: &UnixStream, limits: Limits) -> ConnectionStats {
    let mut conn = Conn::new(limits);
    conn.done(socket.set_nonblocking(true));
    while conn.wants() != Wants::Close {
        let result = exchange(socket, &mut conn, stop);
        conn.done(result);
    }
    ConnectionStats::of(&conn)
}

/// Does what the connection wants next.
fn exchange(mut socket: &TcpStream, conn: &mut Conn, stop: &UnixStream) -> io::Result<()> {
    let mut buf = [0; BUFFER];
    match conn.wants() {
        Wants::Read => {
            let readable = PollFd::new(socket.as_fd(), PollFlags::POLLIN);
            wait_for(Some(readable), conn, stop)?;
            let n = socket.read(&mut buf)?;
            conn.received(&buf[..n]);
        }
        Wants::Write => {
            let writable = PollFd::new(socket.as_fd(), PollFlags::POLLOUT);
            wait_for(Some(writable), conn, stop)?;
            let n = socket.write(conn.output())?;
            conn.sent(n);
        }
        Wants::ShutdownWrite => {
            socket.shutdown(Shutdown::Write)?;
            conn.write_shut();
        }
        Wants::Wait => wait_for(None, conn, stop)?,
        Wants::Close => {}
    }
    Ok(())
}

/// Waits for the socket. The end of `stop` ends one wait too, and the connection is told.
fn wait_for(socket: Option<PollFd>, conn: &mut Conn, stop: &UnixStream) -> io::Result<()> {
    let awaited = socket.is_some();
    let end = (!conn.is_shutting_down()).then(|| PollFd::new(stop.as_fd(), PollFlags::POLLIN));
    let mut sources: Vec<PollFd> = socket.into_iter().chain(end).collect();
    poll(&mut sources, timeout(conn.time_left()))?;
    match sources.iter().position(|source| source.any() == Some(true)) {
        None => Err(io::ErrorKind::TimedOut.into()),
        Some(0) if awaited => Ok(()),
        Some(_) => {
            conn.shutdown_requested();
            Err(io::ErrorKind::Interrupted.into())
        }
    }
}

fn timeout(time_left: Duration) -> PollTimeout {
    PollTimeout::try_from(time_left).unwrap_or(PollTimeout::MAX)
}

/// The open connections, one process each.
#[derive(Default)]
struct Connections {
    tasks: Vec<Process<ConnectionStats>>,
    stats: ServerStats,
}

impl Connections {
    fn start(&mut self, socket: &TcpStream, stop: &UnixStream, limits: Limits) -> io::Result<()> {
        let task = loop {
            match process::try_spawn(|| serve(socket, stop, limits)) {
                // No process or no descriptor is left until another connection ends.
                Err(_) if !self.tasks.is_empty() => sleep(ACCEPT_BACKOFF),
                result => break result?,
            }
            self.join_finished();
        };
        self.tasks.push(task);
        self.stats.begin();
        Ok(())
    }

    fn join_finished(&mut self) {
        for task in self.tasks.extract_if(.., |task| task.is_finished()) {
            // An error is a panic: it has been printed, and it ended only this connection.
            self.stats.end(task.join().unwrap_or_default());
        }
    }

    fn shut_down(mut self, grace: Duration) -> ServerStats {
        let deadline = Instant::now() + grace;
        for task in self.tasks {
            let mut end = [PollFd::new(task.as_fd(), PollFlags::POLLIN)];
            let left = deadline.saturating_duration_since(Instant::now());
            // A process that has not ended by now is killed.
            if poll(&mut end, timeout(left)) == Ok(0) {
                let _ = task.kill(Signal::SIGKILL);
            }
            self.stats.end(task.join().unwrap_or_default());
        }
        self.stats
    }
}
