//! Asides: what slide 36 says of asyncio, each shown by running it.

pub mod callbacks;
pub mod loops;
pub mod many_threads;
pub mod waiting;
