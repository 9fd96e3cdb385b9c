//! The exercises: each file here has one bug that is typical of async, on tokio.
//!
//! `cargo test -p asyncio-style await_in_a_loop -- --ignored` says in a sentence what
//! `await_in_a_loop.rs` should do, and passes once the file is fixed. `solutions/` has the same
//! files fixed.

mod await_in_a_loop;
mod checks;
mod guard_across_await;
mod read_exact_raced;
mod solutions;
