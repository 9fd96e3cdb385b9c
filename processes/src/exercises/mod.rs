//! What a participant mends: each file here is broken in one way that processes invite.
//!
//! `cargo test -p processes open_end -- --ignored` says in a sentence what `open_end.rs` should
//! do, and passes once the file is mended. `solutions/` has the same files mended.

mod checks;
mod dead_worker;
mod lock_in_fork;
mod open_end;
mod solutions;
