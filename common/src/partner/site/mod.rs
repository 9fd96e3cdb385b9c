//! The loopback web site that the clients fetch from: its pages, and the program that serves them.
//!
//! The site is a partner, not part of any style: a process of its own with one thread, a poll loop
//! (`Web::run`) and timers. [`handle::Site`] starts it and sends it commands. By hand it runs as
//! `cargo run -p threads -- site --port 8080`. What it answers:
//!
//! | path | answer |
//! |---|---|
//! | `/page/N` | page N: N bytes of text, at least 1024 and at most 16 MiB |
//! | `/gate/N?of=K` | page N, but only when K requests wait at the gate of K |
//! | `/chunked/N` | page N in chunks |
//! | `/close/N` | page N without a length: it ends where the connection ends |
//! | `/old/N` | page N as HTTP/1.0 said it: a status line, no headers |
//! | `/hints/N` | page N after a `103 Early Hints` |
//! | `/drip/N?every=MS` | page N, one byte every MS milliseconds, every 100 if not said |
//! | `/stall` | nothing, ever |
//! | `/stall-body/N` | the first half of page N, then nothing, ever |
//! | `/truncated` | half of the body that the head announces, then the end |
//! | `/malformed` | something that is not HTTP |
//! | `/reset` | a reset instead of an answer |
//! | `/status/CODE` | that status, 400 to 599 |
//!
//! Every path takes `?delay=MS`: the answer begins that many milliseconds later.

mod answers;
mod client;
pub mod control;
pub mod handle;
pub mod listener;
pub mod program;
#[cfg(test)]
mod tests;
mod web;
