//! Sizes, counts and times: the limits of the clients and servers of all styles.

use std::time::Duration;

/// How many bytes every style reads at once.
pub const BUFFER: usize = 4096;

/// How many connections may wait to be accepted, at the site and at every style's server.
pub const BACKLOG: i32 = 4096;

/// How many connections a style's server holds at once. Where a connection costs a thread or a
/// process, the next one waits until it is accepted. Where it costs little, it is answered 503.
pub mod max_connections {
    /// One thread each.
    pub const THREADS: usize = 1_000;
    /// One process each.
    pub const PROCESSES: usize = 200;
    /// All on one thread.
    pub const OTHERS: usize = 12_000;
}

/// What a server allows its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections are open at once.
    pub max_connections: usize,
    /// How long a connection is kept without a request.
    pub idle: Duration,
    /// How long a request may take from its first byte to its last.
    pub request: Duration,
    /// How long a peer may take to receive a piece of its answer, 16 KiB.
    pub write: Duration,
    /// How long the peer has to close after its last answer, and how long a server that shuts down
    /// still answers.
    pub grace: Duration,
}

impl Limits {
    /// The limits of every style, with so many connections.
    pub const fn new(max_connections: usize) -> Limits {
        Limits {
            max_connections,
            idle: Duration::from_secs(5),
            request: Duration::from_secs(10),
            write: Duration::from_secs(10),
            grace: Duration::from_secs(1),
        }
    }
}
