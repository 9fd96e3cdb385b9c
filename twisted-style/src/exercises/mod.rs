//! What a participant mends: each file here is broken in one way that callbacks invite.
//!
//! `cargo test -p twisted-style one_data_one_line -- --ignored` says in a sentence what
//! `one_data_one_line.rs` should do, and passes once the file is mended. `solutions/` has the same
//! files mended.

mod checks;
mod computing_callback;
mod lock_not_released;
mod one_data_one_line;
mod solutions;
