//! The exercises: each file here has one bug that is typical of processes.
//!
//! `cargo test -p processes open_end -- --ignored` says in a sentence what `open_end.rs` should
//! do, and passes once the file is fixed. `solutions/` has the same files fixed.

mod checks;
mod dead_worker;
mod lock_in_fork;
mod open_end;
mod solutions;
