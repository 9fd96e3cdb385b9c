//! The exercises: each file here has one bug that is typical of threads.
//!
//! `cargo test -p threads lost_update -- --ignored` says in a sentence what `lost_update.rs`
//! should do, and passes once the file is fixed. `solutions/` has the same files fixed.

mod checks;
mod dripping_peer;
mod lost_update;
mod solutions;
mod two_locks;
