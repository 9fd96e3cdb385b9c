//! Partners: programs that a style is tested with, each in a process of its own.
//!
//! They wait, which nothing else in `common` does. But they never wait for a style.

pub mod child;
pub mod load;
mod poller;
pub mod site;
