//! gevent: greenlets that read like threads, a hub, and monkey patching. Slides 28-32.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Chapter, Claim, Seen};
use common::workload::shared_state::Version;
use common::workload::{cpu_bound as cpu, interactivity as heart, io_bound as io};

mod control;
mod cpu_bound;
mod early_results;
#[allow(dead_code)]
mod event;
#[allow(dead_code)]
mod futex;
#[allow(dead_code)]
mod greenlet;
#[allow(dead_code)]
mod hub;
mod interactivity;
mod io_bound;
#[allow(dead_code)]
mod monkey;
mod ordering;
#[allow(dead_code)]
mod pool;
#[allow(dead_code)]
mod queue;
mod shared_state;

#[cfg(test)]
mod tests;

// `greenlet::run` makes the main program a greenlet as well, as it is in gevent: what it spawns
// starts when it waits, and in order.
const GEVENT_STYLE: Chapter = Chapter {
    style: "gevent-style",
    event_loop: None,
    slides: "28-32",
    waits: "a call that would block is patched, and switches to the hub",
    at_most: 30_000,
    io_bound: |jobs| greenlet::run(|| io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| greenlet::run(|| io_bound::bounded(jobs, n)),
    cpu_bound: |counts| greenlet::run(|| cpu_bound::run(counts)),
    ordering: |all| greenlet::run(|| ordering::run(all)),
    shared_state_careless: |bank| greenlet::run(|| shared_state::careless(bank)),
    shared_state_careful: |bank| greenlet::run(|| shared_state::careful(bank)),
    shared_state_also: &[Version::locked(|bank| greenlet::run(|| shared_state::locked(bank)))],
    interactivity_careless: |count, heart| greenlet::run(|| interactivity::careless(count, heart)),
    interactivity_careful: |count, heart| greenlet::run(|| interactivity::careful(count, heart)),
    early_results: |jobs, to| greenlet::run(|| early_results::run(jobs, to)),
    control_deadline: |jobs, limit| greenlet::run(|| control::deadline(jobs, limit)),
    control_pause: |counter| greenlet::run(|| control::pause(counter)),
    asides: &[],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("A1", Seen::Interactivity(heart::one_stalls_everybody)),
        Claim("A2", Seen::IoBound(io::one_thread_many_connections)),
        Claim("G1", Seen::Read("gevent-style/src/io_bound.rs, exchange")),
        Claim("G2", Seen::Read("gevent-style/src/io_bound.rs, run")),
    ],
};

fn main() -> ExitCode {
    monkey::patch_all();
    Chapter::main(&[GEVENT_STYLE])
}
