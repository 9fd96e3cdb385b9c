//! Processes: simple, synchronous calls, scheduled by the operating system, nothing shared.
//! Slides 16-21. This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Chapter, Claim, Seen};
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
        Claim {
            id: "C1",
            slide: "2",
            says: "concurrency is not parallel computing",
            seen: Seen::IoAndCpu(cpu::more_under_way_than_cores),
        },
        Claim {
            id: "C2",
            slide: "3",
            says: "in turn, waits and work add up",
            seen: Seen::IoAndCpu(cpu::baselines_are_sums),
        },
        Claim {
            id: "P1",
            slide: "16",
            says: "a simple, synchronous API",
            seen: Seen::Read("processes/src/io_bound.rs, exchange"),
        },
        Claim {
            id: "P4",
            slide: "17",
            says: "waits overlap",
            seen: Seen::IoBound(io::waits_overlap),
        },
        Claim {
            id: "P5",
            slide: "18-20",
            says: "CPU-bound processes are as fast as the cores",
            seen: Seen::CpuBound(cpu::as_fast_as_the_cores),
        },
        Claim {
            id: "P6",
            slide: "21",
            says: "processes are good for parallel processing",
            seen: Seen::CpuBound(cpu::as_fast_as_the_cores),
        },
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[PROCESSES])
}
