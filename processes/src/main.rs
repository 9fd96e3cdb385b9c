//! Processes: simple, synchronous calls, scheduled by the operating system, nothing shared.
//! Slides 16-21. This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Chapter, Seen, claim};
use common::workload::{cpu_bound as cpu, io_bound as io};

mod cpu_bound;
mod io_bound;
#[allow(dead_code)]
mod process;
#[allow(dead_code)]
mod shared_memory;

const PROCESSES: Chapter = Chapter {
    style: "processes",
    event_loop: None,
    slides: "16-21",
    waits: "the OS parks a process that waits and preempts one that runs",
    at_most: 500,
    io_bound: io_bound::run,
    io_bound_bounded: io_bound::bounded,
    cpu_bound: cpu_bound::run,
    asides: &[],
    claims: &[
        claim(
            "C1",
            "2",
            "concurrency is not parallel computing",
            Seen::IoAndCpu(cpu::more_under_way_than_cores),
        ),
        claim("C2", "3", "in turn, waits and work add up", Seen::IoAndCpu(cpu::baselines_are_sums)),
        claim(
            "P1",
            "16",
            "a simple, synchronous API",
            Seen::Read("processes/src/io_bound.rs, exchange"),
        ),
        claim("P4", "17", "waits overlap", Seen::IoBound(io::waits_overlap)),
        claim(
            "P5",
            "18-20",
            "CPU-bound processes are as fast as the cores",
            Seen::CpuBound(cpu::as_fast_as_the_cores),
        ),
        claim(
            "P6",
            "21",
            "processes are good for parallel processing",
            Seen::CpuBound(cpu::as_fast_as_the_cores),
        ),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[PROCESSES])
}
