//! What all styles share: `common` computes, parses, formats and records; the style waits.
//!
//! Nothing in here spawns, joins, sleeps, locks, sends on a channel, reads or writes a socket,
//! times out, cancels or accepts *for a style*. If two styles shared waiting code, exactly what
//! this project shows would be hidden. A [`partner`] does wait, but in a process of its own.
//!
//! Each module uses only the modules above it:
//!
//! | module | what lives there |
//! |---|---|
//! | [`error`], [`limits`], [`units`], [`machine`], [`span`] | why a program ends, sizes, times as people write them, what the machine has, what each task did when |
//! | [`claims`] | what the talk claims |
//! | [`http`] | one GET, and one server connection, without IO |
//! | [`workload`] | what a style imports, one file for each workload |
//! | [`style`] | the table of functions that a program hands in |
//! | [`report`] | sections, bars, timelines, verdicts, as text and as JSON |
//! | [`partner`] | programs of their own: the web site that clients fetch from, the clients that a server is tried with |
//! | [`measure`] | flags, runs, pictures and judges, one file for each workload |
//! | [`registry`] | the table of workloads |
//! | [`cli`], [`program`] | the command line, and the `main` of every program |
//! | [`exercise`] | what the checks of the exercises say, and how they end |

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("This project runs on Linux with glibc; the README says how to use a container.");

pub mod claims;
pub mod cli;
pub mod error;
pub mod exercise;
pub mod http;
pub mod limits;
pub mod machine;
pub mod measure;
pub mod partner;
pub mod program;
pub mod registry;
pub mod report;
pub mod span;
pub mod style;
pub mod units;
pub mod workload;
