//! Threads: simple, synchronous calls, scheduled by the operating system. Slides 6-15.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Chapter, Seen, claim};
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
        claim(
            "C1",
            "2",
            "concurrency is not parallel computing",
            Seen::IoAndCpu(cpu::more_under_way_than_cores),
        ),
        claim("C2", "3", "in turn, waits and work add up", Seen::IoAndCpu(cpu::baselines_are_sums)),
        claim(
            "T1",
            "6",
            "a simple, synchronous API",
            Seen::Read("threads/src/io_bound.rs, exchange"),
        ),
        claim("T4", "7-8", "waits overlap", Seen::IoBound(io::waits_overlap)),
        claim(
            "T5",
            "9-11",
            "CPU-bound threads are no faster",
            Seen::CpuBound(cpu::no_faster_for_a_lock),
        ),
        claim(
            "T9",
            "15",
            "threads are not good for CPU-bound work",
            Seen::CpuBound(cpu::no_faster_for_a_lock),
        ),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[THREADS])
}
