//! The exercises: each file here has one bug that is typical of coroutines.
//!
//! `cargo test -p coroutines yield_between -- --ignored` says in a sentence what
//! `yield_between.rs` should do, and passes once the file is fixed. `solutions/` has the same
//! files fixed.

mod busy_polling;
mod checks;
mod solutions;
mod swallowed_close;
mod yield_between;
