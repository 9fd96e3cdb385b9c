//! What Python's `multiprocessing` and `concurrent.futures` offer, one file per part.

pub mod answer;
pub mod child;
pub mod connection;
pub mod pool;
pub mod process;
pub mod shared_memory;
pub mod start_methods;
mod worker;
