//! Waiting for sources, with a deadline: `select.select`. All other waits are built on it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};

use super::source::Source;
pub use super::source::{readable, writable};
use super::trampoline::{Registered, State, Trampoline, Wake};

/// Waits until the source is ready or the deadline has passed. Without a deadline: `None`.
///
/// # Errors
///
/// `TimedOut` at the deadline if the source is not ready by then; `Deadlock` if every task waits
/// for another one; an error of the kernel for a descriptor that cannot be waited for.
pub fn wait(source: Source<'_>, deadline: impl Into<Option<Instant>>) -> io::Result<()> {
    wait_any(&[source], deadline).map(|_| ())
}

/// Waits until one of the sources is ready and says which one, as an index into `sources`.
///
/// # Errors
///
/// As [`wait`].
pub fn wait_any(sources: &[Source<'_>], deadline: impl Into<Option<Instant>>) -> io::Result<usize> {
    if let Some(index) = sources.iter().position(Source::is_set) {
        return Ok(index);
    }
    let deadline = deadline.into();
    Trampoline::with(|trampoline| {
        refuse_while_unwinding()?;
        loop {
            // However the wait ends, also if the task is closed meanwhile, it is unregistered.
            let _registered = Registered::new(trampoline, sources, deadline)?;
            match trampoline.suspend(State::Waiting) {
                Wake::Ready(index) => return Ok(index),
                Wake::TimedOut => return Err(io::ErrorKind::TimedOut.into()),
                Wake::Deadlock => return Err(deadlock()),
                Wake::Again | Wake::Closed => {}
            }
        }
    })
}

/// Connects a nonblocking socket. (`gevent.socket.create_connection`)
///
/// # Errors
///
/// As `TcpStream::connect`; `TimedOut` at the deadline.
pub fn connect(address: SocketAddr, deadline: impl Into<Option<Instant>>) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket::socket(family, SockType::Stream, flags, None)?;
    Trampoline::with(|trampoline| trampoline.opened(fd.as_fd()));
    let address = SockaddrStorage::from(address);
    match socket::connect(fd.as_raw_fd(), &address) {
        Ok(()) => return Ok(fd.into()),
        // EINTR does not stop the handshake either.
        Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    // To a near address, the handshake is over when the call returns; a second call says so.
    match socket::connect(fd.as_raw_fd(), &address) {
        Ok(()) | Err(Errno::EISCONN) => return Ok(fd.into()),
        Err(Errno::EALREADY | Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = TcpStream::from(fd);
    wait(writable(&socket), deadline)?;
    match socket.take_error()? {
        None => Ok(socket),
        Some(error) => Err(error),
    }
}

/// The panic count of the standard library belongs to the thread, not to the task. If a task
/// switched away while it unwinds, the other tasks would seem to panic.
fn refuse_while_unwinding() -> io::Result<()> {
    if thread::panicking() {
        return Err(io::Error::other("a task that unwinds cannot wait"));
    }
    Ok(())
}

fn deadlock() -> io::Error {
    io::Error::new(io::ErrorKind::Deadlock, "deadlock: every task waits for another one")
}

#[cfg(test)]
mod tests;
