//! Partners: programs that a style is tried with, each in a process of its own.
//!
//! They wait, which nothing else in `common` does, but they wait for themselves and never for a
//! style.

pub mod child;
pub mod load;
mod poller;
pub mod site;
