//! server: answer many clients at the same time. Slides 28, 31, 34.

use std::io;
use std::time::Duration;

use nix::unistd::gettid;
use serde::{Deserialize, Serialize};

use crate::http::conn::Conn;

/// How long a server rests that is out of descriptors, memory, threads or processes: whoever just
/// tries again spins until somebody else lets go of one.
pub const REST: Duration = Duration::from_millis(50);

/// Whether there is nothing left to serve anybody with at present. Other errors of `accept` are
/// those of one client, who has gone again.
pub fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EAGAIN];
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

/// What a server did, until it was told to stop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// Connections that are open.
    pub open: usize,
    /// Connections that were open at once.
    pub most_open: usize,
    /// Connections that have ended.
    pub connections: u64,
    /// Pages sent to the last byte.
    pub pages: u64,
    /// The thread that served the first connection to end.
    pub(crate) thread: Option<i32>,
    /// Others were served by other threads.
    pub(crate) several_threads: bool,
}

impl Served {
    /// A connection begins.
    pub fn begin(&mut self) {
        self.open += 1;
        self.most_open = self.most_open.max(self.open);
    }

    /// A connection that has begun ends.
    pub fn end(&mut self, visit: Visit) {
        self.open -= 1;
        self.connections += 1;
        self.pages += visit.pages;
        let first = *self.thread.get_or_insert(visit.thread);
        self.several_threads |= first != visit.thread;
    }
}

/// One connection, from its beginning to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    pages: u64,
    /// The thread that served it.
    thread: i32,
}

impl Visit {
    /// The connection as it ends, in the thread that served it.
    pub fn of(conn: &Conn) -> Visit {
        Visit { pages: conn.served(), thread: gettid().as_raw() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_of_a_server() {
        let mut served = Served::default();
        served.begin();
        served.begin();
        served.end(Visit { pages: 2, thread: 1 });
        assert!(!served.several_threads);
        served.begin();
        served.end(Visit { pages: 3, thread: 2 });
        assert!(served.several_threads);
        served.end(Visit { pages: 0, thread: 1 });
        assert_eq!((served.open, served.most_open), (0, 2));
        assert_eq!((served.connections, served.pages), (3, 5));
    }

    #[test]
    fn a_client_that_is_gone_is_no_reason_to_rest() {
        assert!(is_exhausted(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(!is_exhausted(&io::Error::from_raw_os_error(libc::ECONNABORTED)));
    }
}
