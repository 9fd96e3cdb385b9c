//! What a participant mends: each file here is broken in one way that async invites, on tokio.
//!
//! `cargo test -p asyncio-style await_in_a_loop -- --ignored` says in a sentence what
//! `await_in_a_loop.rs` should do, and passes once the file is mended. `solutions/` has the same
//! files mended.

mod await_in_a_loop;
mod checks;
mod guard_across_await;
mod read_exact_raced;
mod solutions;
