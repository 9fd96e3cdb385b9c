//! What all styles share: `common` computes, parses, formats and records; the style waits.
//!
//! Nothing in here spawns, joins, sleeps, locks, sends on a channel, reads or writes a socket,
//! times out, cancels or accepts *for a style*. If two styles shared waiting code, the very
//! thing this project shows would be hidden. [`site`] and [`load`] do wait, but they are
//! partners in processes of their own.
//!
//! | module | what lives there |
//! |---|---|
//! | [`chapter`] | a style's table of contents, and the `main` that runs it |
//! | `claims` | what the talk claims |
//! | [`cli`] | every flag of every program, its limits, its messages |
//! | [`workload`] | one file a workload: input, pure steps, expected answer, what is measured |
//! | [`limits`] | how much is read at once, and how many connections a server takes |
//! | [`http`] | one GET, and one server connection, without IO |
//! | [`site`] | the loopback web site that the clients fetch from |
//! | [`load`] | the clients that a server is tried with |
//! | [`timeline`] | spans, drawn as text or written for Perfetto |
//! | [`report`] | the words printed, the JSON, the verdicts |

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("This project runs on Linux with glibc; the README says how to use a container.");

pub mod chapter;
mod claims;
pub mod cli;
mod error;
pub mod http;
pub mod limits;
pub mod load;
mod machine;
pub mod report;
pub mod site;
pub mod timeline;
pub mod workload;

pub use error::Error;
pub use machine::cpu_seconds;
