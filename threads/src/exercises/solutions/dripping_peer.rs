//! `fetch` reads a page to its end and should take at most `timeout` for it, even if the peer sends
//! one byte after the other.
//! What was wrong: the timeout of a read starts anew with every read, and so with every byte.
//! The bug: `sock.settimeout` of Python, and so `timeout` of requests. Its documentation says that
//! it is not a limit on the whole response.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// An error of kind `TimedOut` or `WouldBlock` when the time is over.
pub fn fetch(mut socket: TcpStream, timeout: Duration) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut buf = [0; 4096];
    let deadline = Instant::now() + timeout;
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        if time_left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(time_left))?;
        let n = socket.read(&mut buf)?;
        if n == 0 {
            return Ok(page);
        }
        page.extend_from_slice(&buf[..n]);
    }
}
