//! Coroutines: generators and greenlets, scheduled by nobody but themselves. Slides 22-27.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Chapter, Claim, Seen};
use common::workload::{cpu_bound as cpu, early_results as early};

mod cpu_bound;
#[allow(dead_code)]
mod delegation;
mod early_results;
#[allow(dead_code)]
mod generators;
#[allow(dead_code)]
mod greenlets;
mod io_bound;
#[allow(dead_code)]
mod scheduler;

const COROUTINES: Chapter = Chapter {
    style: "coroutines",
    event_loop: None,
    slides: "22-27",
    waits: "a greenlet that waits bounces back to the trampoline",
    at_most: 30_000,
    io_bound: |jobs| scheduler::run(|| io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| scheduler::run(|| io_bound::bounded(jobs, n)),
    cpu_bound: |counts| scheduler::run(|| cpu_bound::run(counts)),
    early_results: |jobs, to| scheduler::run(|| early_results::run(jobs, to)),
    asides: &[],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("K6", Seen::CpuBound(cpu::no_faster_on_one_thread)),
        Claim("K7", Seen::EarlyResults(early::long_before_the_last)),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[COROUTINES])
}
