//! Coroutines on corosensei: generators, greenlets, and a scheduler for greenlets that wait.

pub mod delegation;
pub mod generators;
pub mod greenlets;
#[allow(dead_code)]
pub mod scheduler;
