//! gevent: greenlets that read like threads, a hub, and monkey patching. Slides 28-32.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::limits::max_connections;
use common::measure::{interactivity as heart, server as serve};
use common::program;
use common::registry::{Aside, Claim, read_it};
use common::style::{Also, Style, Task};
use common::workload::shared_state::Leaves;

use crate::asides::{apart, hub, many_workers, monkey_patching};
use crate::gevent::{greenlet, monkey};

mod asides;
mod cpu_bound;
mod deadline;
mod early_results;
#[cfg(test)]
mod exercises;
mod gevent;
mod interactivity;
mod io_bound;
mod ordering;
mod pause;
mod resources;
mod server;
mod shared_state;

#[cfg(test)]
mod tests;

// `greenlet::run` makes the main program a greenlet too, as in gevent. The greenlets that it spawns
// start when it waits, in order.
const GEVENT_STYLE: Style = Style {
    name: "gevent-style",
    program: "gevent-style",
    event_loop: None,
    slides: "28-32",
    waits: "a call that would block is patched, and switches to the hub",
    task: Task::Stack,
    at_most: 30_000,
    io_bound: |jobs| greenlet::run(|| io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| greenlet::run(|| io_bound::bounded(jobs, n)),
    cpu_bound: |counts| greenlet::run(|| cpu_bound::run(counts)),
    ordering: |all| greenlet::run(|| ordering::run(all)),
    shared_state_careless: |bank| greenlet::run(|| shared_state::careless(bank)),
    shared_state_careful: |bank| greenlet::run(|| shared_state::careful(bank)),
    interactivity_careless: |count, heart| greenlet::run(|| interactivity::careless(count, heart)),
    interactivity_careful: |count, heart| greenlet::run(|| interactivity::careful(count, heart)),
    early_results: |jobs, to| greenlet::run(|| early_results::run(jobs, to)),
    deadline: |jobs, limit| greenlet::run(|| deadline::run(jobs, limit)),
    pause: |counter| greenlet::run(|| pause::run(counter)),
    idle_tasks: 10_000,
    resources_idle: |n, meter| greenlet::run(|| resources::idle(n, meter)),
    resources_ring: |n, laps| greenlet::run(|| resources::ring(n, laps)),
    server: |listener, stop, limits| greenlet::run(|| server::run(listener, stop, limits)),
    max_connections: max_connections::OTHERS,
    also: &[
        Also::CpuBound("thread-pool", |counts| greenlet::run(|| cpu_bound::thread_pool(counts))),
        Also::SharedState(
            "locked",
            |bank| greenlet::run(|| shared_state::locked(bank)),
            Leaves::Exact,
        ),
    ],
};

const ASIDES: &[Aside] = &[
    Aside::new(
        "monkey-patching",
        "30",
        "blocking code, before and after patch_all()",
        monkey_patching::run,
    ),
    Aside::new("hub", "30", "the loop underneath, and what uses it", hub::run),
    Aside::new(
        "many-workers",
        "29-30",
        "may on several threads: faster, no order",
        many_workers::run,
    ),
];

const CLAIMS: &[Claim] = &[
    Claim("A1", |m| m.interactivity.as_ref().map(heart::one_stalls_everybody)),
    Claim("A2", |m| {
        Some(serve::one_thread_many_connections(m.io_bound.as_ref()?, m.server.as_ref()?))
    }),
    Claim("A3", |_| read_it("gevent-style/src/server.rs, exchange; `compare` judges it")),
    Claim("G1", |_| read_it("gevent-style/src/io_bound.rs, exchange")),
    Claim("G2", |_| read_it("gevent-style/src/io_bound.rs, run")),
    Claim("G3", |m| m.aside("monkey-patching").map(monkey_patching::cooperates_when_patched)),
    Claim("G4", |m| m.aside("hub").map(hub::one_loop_underneath)),
];

fn main() -> ExitCode {
    // Parts of some asides that run in processes of their own, in which nothing is patched.
    let parts: [apart::Part; 2] =
        [("before", monkey_patching::before), ("many-workers", many_workers::measure)];
    if let Some(code) = apart::main(&parts) {
        return code;
    }
    monkey::patch_all();
    program::main(&[GEVENT_STYLE], ASIDES, CLAIMS)
}
