//! Twisted: an explicit reactor that calls back, and Deferreds. Slides 28-29, 33-35.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Chapter, Claim, Seen};
use common::workload::{cpu_bound as cpu, io_bound as io};

#[allow(dead_code)] // all of it is in use when the asides are there
mod clock;
mod cpu_bound;
#[allow(dead_code)]
mod deferred;
mod early_results;
mod io_bound;
#[allow(dead_code)]
mod protocol;
#[allow(dead_code)]
mod reactor;

const TWISTED_STYLE: Chapter = Chapter {
    style: "twisted-style",
    event_loop: None,
    slides: "28-29, 33-35",
    waits: "nobody waits: the reactor calls back when something has happened",
    at_most: 1_000_000,
    io_bound: io_bound::run,
    io_bound_bounded: io_bound::bounded,
    cpu_bound: cpu_bound::run,
    early_results: early_results::run,
    asides: &[],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("A2", Seen::IoBound(io::one_thread_many_connections)),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[TWISTED_STYLE])
}
