//! Loopback ports: one that listens, one that refuses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn};

use crate::limits::BACKLOG;

/// A listener on the loopback address; port 0 takes any free port.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    // std sets 128; ten thousand clients that connect at once need more.
    socket::listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}

/// A port that is bound, but not listened on: a connection to it is refused.
pub(super) fn refusing() -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    // A listener that does not listen still knows its address.
    let unheard = TcpListener::from(socket);
    socket::bind(unheard.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    let address = unheard.local_addr()?;
    Ok((unheard.into(), address))
}
