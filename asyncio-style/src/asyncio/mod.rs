//! asyncio itself, on an event loop of our own (PEP 3156): callbacks below, coroutines on top of
//! them. Each file is named after the module of asyncio that it mirrors, and uses only the files
//! before it in this list: `exceptions`, `selector`, `event_loop`, `futures`, `queues`, `tasks`,
//! `taskgroups`, `transports`, `streams`.
//!
//! The lower half (`event_loop`, `transports`) knows callbacks only: `call_soon`, `call_later`,
//! `add_reader`, and protocols that are called when something has happened. The upper half is
//! built on it and adds nothing to the loop: a [`Task`](tasks::Task) is a Rust future. Its next
//! step is one more `call_soon`, and an `await` ends in a done-callback that asks for that step.
//!
//! Everything but [`ThreadsafeHandle`](event_loop::ThreadsafeHandle) belongs to the thread of its
//! loop: nothing is `Send`, so the compiler refuses what asyncio's documentation warns of.

pub mod event_loop;
pub mod exceptions;
pub mod futures;
pub mod queues;
mod selector;
pub mod streams;
pub mod taskgroups;
pub mod tasks;
pub mod transports;

#[cfg(test)]
mod tests;
