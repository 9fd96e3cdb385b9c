//! Threads: simple, synchronous calls, scheduled by the operating system. Slides 6-15.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Chapter, Claim, Seen};
use common::workload::{cpu_bound as cpu, io_bound as io};

mod cpu_bound;
mod io_bound;

const THREADS: Chapter = Chapter {
    style: "threads",
    event_loop: None,
    slides: "6-15",
    waits: "the OS parks a thread that waits and preempts one that runs",
    at_most: 10_000,
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
            id: "T1",
            slide: "6",
            says: "a simple, synchronous API",
            seen: Seen::Read("threads/src/io_bound.rs, exchange"),
        },
        Claim {
            id: "T4",
            slide: "7-8",
            says: "waits overlap",
            seen: Seen::IoBound(io::waits_overlap),
        },
        Claim {
            id: "T5",
            slide: "9-11",
            says: "CPU-bound threads are no faster",
            seen: Seen::CpuBound(cpu::no_faster_for_a_lock),
        },
        Claim {
            id: "T9",
            slide: "15",
            says: "threads are not good for CPU-bound work",
            seen: Seen::CpuBound(cpu::no_faster_for_a_lock),
        },
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[THREADS])
}
