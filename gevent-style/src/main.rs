//! gevent: greenlets that read like threads, a hub, and monkey patching. Slides 28-32.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Aside, Chapter, Claim, Seen};
use common::limits::max_connections;
use common::workload::shared_state::Version;
use common::workload::{cpu_bound as cpu, interactivity as heart, server as serve};

use crate::asides::{apart, hub, many_workers, monkey_patching};
use crate::gevent::{greenlet, monkey};

mod asides;
mod control;
mod cpu_bound;
mod early_results;
mod gevent;
mod interactivity;
mod io_bound;
mod ordering;
mod resources;
mod server;
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
    idle_tasks: 10_000,
    resources_idle: |n, meter| greenlet::run(|| resources::idle(n, meter)),
    resources_ring: |n, laps| greenlet::run(|| resources::ring(n, laps)),
    server: |door, stop| greenlet::run(|| server::run(door, stop)),
    max_connections: max_connections::OTHERS,
    asides: &[
        Aside {
            name: "monkey-patching",
            slides: "30",
            about: "blocking code, before and after patch_all()",
            run: monkey_patching::run,
        },
        Aside {
            name: "hub",
            slides: "30",
            about: "the loop underneath, and what is built on it",
            run: hub::run,
        },
        Aside {
            name: "many-workers",
            slides: "29-30",
            about: "may on several threads: faster, no order",
            run: many_workers::run,
        },
    ],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("A1", Seen::Interactivity(heart::one_stalls_everybody)),
        Claim("A2", Seen::IoAndServer(serve::one_thread_many_connections)),
        Claim("A3", Seen::Server(serve::the_same_task)),
        Claim("G1", Seen::Read("gevent-style/src/io_bound.rs, exchange")),
        Claim("G2", Seen::Read("gevent-style/src/io_bound.rs, run")),
        Claim("G3", Seen::Aside("monkey-patching", monkey_patching::cooperates_when_patched)),
        Claim("G4", Seen::Aside("hub", hub::one_loop_underneath)),
    ],
};

fn main() -> ExitCode {
    // What some asides show in processes of their own, in which nothing is patched.
    let parts: [apart::Part; 2] =
        [("before", monkey_patching::before), ("many-workers", many_workers::measure)];
    if let Some(code) = apart::main(&parts) {
        return code;
    }
    monkey::patch_all();
    Chapter::main(&[GEVENT_STYLE])
}
