//! Coroutines on corosensei: generators, greenlets, and a scheduler for greenlets that wait.
//! Each file uses only those above it.

mod poller;
mod stack;
mod unwind;

pub mod source;
mod trampoline;
pub mod wait;

pub mod scheduler;
pub mod sync;

pub mod generators;

pub mod delegation;
pub mod greenlets;

#[cfg(test)]
mod testing;
