//! Processes: simple, synchronous calls, scheduled by the operating system, nothing shared.
//! Slides 16-21. This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Aside, Chapter, Claim, Seen};
use common::workload::{cpu_bound as cpu, io_bound as io};

mod cpu_bound;
mod early_results;
mod io_bound;
mod pool;
#[allow(dead_code)]
mod process;
#[allow(dead_code)]
mod shared_memory;
mod start_methods;

const PROCESSES: Chapter = Chapter {
    style: "processes",
    event_loop: None,
    slides: "16-21",
    waits: "the OS parks a process that waits and preempts one that runs",
    at_most: 500,
    io_bound: io_bound::run,
    io_bound_bounded: io_bound::bounded,
    cpu_bound: cpu_bound::run,
    early_results: early_results::run,
    asides: &[
        Aside {
            name: "pool",
            slides: "21",
            about: "eight jobs, two workers, and SIGKILL",
            run: pool::aside,
        },
        Aside {
            name: "start-methods",
            slides: "16, 21",
            about: "fork, forkserver, spawn",
            run: start_methods::aside,
        },
    ],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("P1", Seen::Read("processes/src/io_bound.rs, exchange")),
        Claim("P4", Seen::IoBound(io::waits_overlap)),
        Claim("P5", Seen::CpuBound(cpu::as_fast_as_the_cores)),
        Claim("P6", Seen::CpuBound(cpu::as_fast_as_the_cores)),
    ],
};

fn main() -> ExitCode {
    start_methods::freeze_support();
    Chapter::main(&[PROCESSES])
}
