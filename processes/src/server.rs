//! server: answer every connection at the same time.
//! One process a connection: the OS parks a process that waits and wakes it when there is news.
//! Run it: cargo run -p processes -- server

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

use common::http::conn::{Conn, GRACE, Wants};
use common::limits::BUFFER;
use common::limits::max_connections::PROCESSES;
use common::workload::server::{REST, Served, Visit, is_exhausted};

use crate::multiprocessing::child::retry;
use crate::multiprocessing::process::{self, Process};

pub fn run(listener: TcpListener, stop: UnixStream) -> io::Result<Served> {
    listener.set_nonblocking(true)?;
    // Ended children announce themselves by a signal; it is received through a descriptor.
    let signals = SigSet::from(Signal::SIGCHLD);
    signals.thread_block()?;
    let ends = SignalFd::new(&signals)?;
    let mut room = Room::default();
    loop {
        let mut sources = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(ends.as_fd(), PollFlags::POLLIN),
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        ];
        // In a full room the next connection waits in the listener.
        let n = if room.tasks.len() < PROCESSES { 3 } else { 2 };
        retry(|| poll(&mut sources[..n], PollTimeout::NONE))?;
        let [stopped, ended, came] = sources.map(|source| source.any() == Some(true));
        if stopped {
            break;
        }
        if ended {
            ends.read_signal()?;
            room.reap();
        }
        if came {
            match listener.accept() {
                Ok((socket, _)) => room.enter(&socket, &stop),
                Err(error) if is_exhausted(&error) => thread::sleep(REST),
                Err(_) => {} // whoever it was has gone again
            }
        }
    }
    // Closed it would still listen: the children have copies of it.
    TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both)?;
    room.close(&ends)?;
    signals.thread_unblock()?;
    Ok(room.served)
}

fn serve(socket: &TcpStream, stop: &UnixStream) -> Visit {
    let mut conn = Conn::new();
    if let Err(error) = socket.set_nonblocking(true) {
        conn.done(Err(error));
    }
    while conn.wants() != Wants::Close {
        let result = exchange(socket, &mut conn, stop);
        conn.done(result);
    }
    Visit::of(&conn)
}

/// Does what the connection wants next.
fn exchange(mut socket: &TcpStream, conn: &mut Conn, stop: &UnixStream) -> io::Result<()> {
    let mut buf = [0; BUFFER];
    if conn.wants() == Wants::Drain {
        socket.shutdown(Shutdown::Write)?;
    }
    match conn.wants() {
        Wants::Read | Wants::Drain => {
            let readable = PollFd::new(socket.as_fd(), PollFlags::POLLIN);
            wait(Some(readable), conn.patience(), conn, stop)?;
            let n = socket.read(&mut buf)?;
            conn.received(&buf[..n]);
        }
        Wants::Write => {
            let writable = PollFd::new(socket.as_fd(), PollFlags::POLLOUT);
            wait(Some(writable), conn.patience(), conn, stop)?;
            let n = socket.write(conn.output())?;
            conn.sent(n);
        }
        Wants::Wait(pause) => wait(None, pause, conn, stop)?,
        Wants::Close => {}
    }
    Ok(())
}

/// Waits for the socket; or, once, for the end of `stop`, and tells the connection.
fn wait(
    socket: Option<PollFd>,
    patience: Duration,
    conn: &mut Conn,
    stop: &UnixStream,
) -> io::Result<()> {
    let for_socket = socket.is_some();
    let end = (!conn.is_finishing()).then(|| PollFd::new(stop.as_fd(), PollFlags::POLLIN));
    let mut sources: Vec<PollFd> = socket.into_iter().chain(end).collect();
    poll(&mut sources, timeout(patience))?;
    match sources.iter().position(|source| source.any() == Some(true)) {
        None => Err(io::ErrorKind::TimedOut.into()),
        Some(0) if for_socket => Ok(()),
        Some(_) => {
            conn.finish();
            Err(io::ErrorKind::Interrupted.into())
        }
    }
}

fn timeout(patience: Duration) -> PollTimeout {
    PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)
}

/// Who is in: a process each.
#[derive(Default)]
struct Room {
    tasks: Vec<Process<Visit>>,
    served: Served,
}

impl Room {
    fn enter(&mut self, socket: &TcpStream, stop: &UnixStream) {
        loop {
            if let Ok(task) = process::try_spawn(|| serve(socket, stop)) {
                self.served.begin();
                return self.tasks.push(task);
            }
            // No process or no descriptor is left until somebody leaves.
            if self.tasks.is_empty() {
                return;
            }
            thread::sleep(REST);
            self.reap();
        }
    }

    /// Joins the processes that have ended: none of them stays a zombie.
    fn reap(&mut self) {
        for task in self.tasks.extract_if(.., |task| task.is_finished()) {
            // An error is a panic: it has been printed, and was the end of one connection only.
            self.served.end(task.join().unwrap_or_default());
        }
    }

    /// Waits until everybody has left, which they do within the grace, or are killed.
    fn close(&mut self, ends: &SignalFd) -> io::Result<()> {
        let deadline = Instant::now() + GRACE;
        while !self.tasks.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut sources = [PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
            if retry(|| poll(&mut sources, timeout(left)))? == 0 {
                self.tasks.iter().try_for_each(|task| task.kill(Signal::SIGKILL))?;
            } else {
                ends.read_signal()?;
            }
            self.reap();
        }
        Ok(())
    }
}
