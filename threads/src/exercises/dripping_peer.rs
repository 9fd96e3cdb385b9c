//! `fetch` reads a page to its end and should take at most `timeout` for it, even if the peer sends
//! one byte after the other.
//! Hint: when does the timeout of a read start? How much of the page's time is left by then?
//! `io_bound::exchange` asks before every read.
//! The bug: `sock.settimeout` of Python, and so `timeout` of requests. Its documentation says that
//! it is not a limit on the whole response.
//! Try it: `cargo test -p threads dripping_peer -- --ignored`

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Duration;

/// An error of kind `TimedOut` or `WouldBlock` when the time is over.
pub fn fetch(mut socket: TcpStream, timeout: Duration) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut buf = [0; 4096];
    socket.set_read_timeout(Some(timeout))?;
    loop {
        let n = socket.read(&mut buf)?;
        if n == 0 {
            return Ok(page);
        }
        page.extend_from_slice(&buf[..n]);
    }
}
