//! What a participant mends: each file here is broken in one way that greenlets invite.
//!
//! `cargo test -p gevent-style round_the_patch -- --ignored` says in a sentence what
//! `round_the_patch.rs` should do, and passes once the file is mended. `solutions/` has the same
//! files mended.

mod checks;
mod killed_map;
mod round_the_patch;
mod sleep_zero_loop;
mod solutions;
