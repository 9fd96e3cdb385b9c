//! The exercises: each file here has one bug that is typical of callbacks.
//!
//! `cargo test -p twisted-style one_data_one_line -- --ignored` says in a sentence what
//! `one_data_one_line.rs` should do, and passes once the file is fixed. `solutions/` has the same
//! files fixed.

mod checks;
mod computing_callback;
mod lock_not_released;
mod one_data_one_line;
mod solutions;
