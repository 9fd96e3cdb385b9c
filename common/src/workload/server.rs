//! server: answer many clients at the same time. Slides 28, 31, 34.

use std::io;
use std::time::Duration;

use nix::unistd::gettid;
use serde::{Deserialize, Serialize};

use crate::http::conn::Conn;

/// How long a server that is out of descriptors, memory, threads or processes waits before it
/// accepts again. If it tried immediately, it would spin until another connection releases one.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Whether descriptors, memory, threads or processes are exhausted. Any other error of `accept`
/// belongs to one client, which has already disconnected.
pub fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EAGAIN];
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

/// What a server did until it was told to stop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerStats {
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

impl ServerStats {
    /// A connection begins.
    pub fn begin(&mut self) {
        self.open += 1;
        self.most_open = self.most_open.max(self.open);
    }

    /// A connection that has begun ends.
    pub fn end(&mut self, stats: ConnectionStats) {
        self.open -= 1;
        self.connections += 1;
        self.pages += stats.pages;
        let first = *self.thread.get_or_insert(stats.thread);
        self.several_threads |= first != stats.thread;
    }
}

/// One connection, from its beginning to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStats {
    pages: u64,
    /// The thread that served it.
    thread: i32,
}

impl ConnectionStats {
    /// The connection as it ends, in the thread that served it.
    pub fn of(conn: &Conn) -> ConnectionStats {
        ConnectionStats { pages: conn.served(), thread: gettid().as_raw() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_counts_its_connections() {
        let mut server = ServerStats::default();
        server.begin();
        server.begin();
        server.end(ConnectionStats { pages: 2, thread: 1 });
        assert!(!server.several_threads);
        server.begin();
        server.end(ConnectionStats { pages: 3, thread: 2 });
        assert!(server.several_threads);
        server.end(ConnectionStats { pages: 0, thread: 1 });
        assert_eq!((server.open, server.most_open), (0, 2));
        assert_eq!((server.connections, server.pages), (3, 5));
    }

    #[test]
    fn a_client_that_has_disconnected_is_not_exhaustion() {
        assert!(is_exhausted(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(!is_exhausted(&io::Error::from_raw_os_error(libc::ECONNABORTED)));
    }
}
