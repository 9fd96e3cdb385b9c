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
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("T1", Seen::Read("threads/src/io_bound.rs, exchange")),
        Claim("T4", Seen::IoBound(io::waits_overlap)),
        Claim("T5", Seen::CpuBound(cpu::no_faster_for_a_lock)),
        Claim("T9", Seen::CpuBound(cpu::no_faster_for_a_lock)),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[THREADS])
}
