//! What a participant mends: each file here is broken in one way that coroutines invite.
//!
//! `cargo test -p coroutines yield_between -- --ignored` says in a sentence what
//! `yield_between.rs` should do, and passes once the file is mended. `solutions/` has the same
//! files mended.

mod busy_polling;
mod checks;
mod solutions;
mod swallowed_close;
mod yield_between;
