//! Asides: what slide 36 says of asyncio, each shown by running it.

use std::fs::File;
use std::io;

pub mod callbacks;
pub mod loops;
pub mod many_threads;
pub mod waiting;

/// Says at once that there are too few descriptors for an aside: the site would accept no client,
/// and the reactor that smol and async-std share would wait forever.
fn check_descriptors() -> io::Result<()> {
    let free: io::Result<Vec<File>> = (0..32).map(|_| File::open("/dev/null")).collect();
    free.map(drop)
}
