//! How much and how many: what clients and servers of all styles hold to.

/// How many bytes every style reads at once.
pub const BUFFER: usize = 4096;

/// How many connections may wait to be accepted, at the site and at every style's server.
pub const BACKLOG: i32 = 4096;

/// How many connections a style's server holds at once. The next one waits until it is accepted,
/// where that costs a thread or a process, and is told so (503) where it costs next to nothing.
pub mod max_connections {
    /// One thread each.
    pub const THREADS: usize = 1_000;
    /// One process each.
    pub const PROCESSES: usize = 200;
    /// All on one thread.
    pub const OTHERS: usize = 12_000;
}
