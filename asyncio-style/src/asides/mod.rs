//! Asides: what slide 36 says about asyncio, each point shown by running it.

use std::fs::File;
use std::io;

pub mod callbacks;
pub mod loops;
pub mod many_threads;
pub mod waiting;

/// Fails early if there are too few descriptors for an aside: the site would accept no connection,
/// and the reactor that smol and async-std share would wait forever.
fn check_descriptors() -> io::Result<()> {
    let free: io::Result<Vec<File>> = (0..32).map(|_| File::open("/dev/null")).collect();
    free.map(drop)
}
