//! The message for a thread that cannot be started.

use std::io;

/// Adds to an error the limits that may have been reached.
pub fn no_thread(error: io::Error) -> io::Error {
    let limits = "the limits of threads and memory: ulimit -u, ulimit -v, or the container's";
    let words = format!("no further thread can be started: {error} ({limits})");
    io::Error::new(error.kind(), words)
}
