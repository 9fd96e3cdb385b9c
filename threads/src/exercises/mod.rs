//! What a participant mends: each file here is broken in one way that threads invite.
//!
//! `cargo test -p threads lost_update -- --ignored` says in a sentence what `lost_update.rs`
//! should do, and passes once the file is mended. `solutions/` has the same files mended.

mod checks;
mod dripping_peer;
mod lost_update;
mod solutions;
mod two_locks;
