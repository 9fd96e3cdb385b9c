//! The exercises: each file here has one bug that is typical of greenlets.
//!
//! `cargo test -p gevent-style round_the_patch -- --ignored` says in a sentence what
//! `round_the_patch.rs` should do, and passes once the file is fixed. `solutions/` has the same
//! files fixed.

mod checks;
mod killed_map;
mod round_the_patch;
mod sleep_zero_loop;
mod solutions;
