//! Coroutines: generators and greenlets, scheduled by nobody but themselves. Slides 22-27.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Aside, Chapter, Claim, Seen};
use common::limits::max_connections;
use common::workload::shared_state::Version;
use common::workload::{
    control as ctl, cpu_bound as cpu, early_results as early, interactivity as heart,
    ordering as order,
};

use coroutine::scheduler;

mod asides;
mod control;
mod coroutine;
mod cpu_bound;
mod early_results;
mod interactivity;
mod io_bound;
mod ordering;
mod resources;
mod server;
mod shared_state;

const COROUTINES: Chapter = Chapter {
    style: "coroutines",
    event_loop: None,
    slides: "22-27",
    waits: "a greenlet that waits bounces back to the trampoline",
    at_most: 30_000,
    io_bound: |jobs| scheduler::run(|| io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| scheduler::run(|| io_bound::bounded(jobs, n)),
    cpu_bound: |counts| scheduler::run(|| cpu_bound::run(counts)),
    ordering: |all| scheduler::run(|| ordering::run(all)),
    shared_state_careless: |bank| scheduler::run(|| shared_state::careless(bank)),
    shared_state_careful: |bank| scheduler::run(|| shared_state::careful(bank)),
    shared_state_also: &[Version::locked(|bank| scheduler::run(|| shared_state::locked(bank)))],
    interactivity_careless: |count, heart| scheduler::run(|| interactivity::careless(count, heart)),
    interactivity_careful: |count, heart| scheduler::run(|| interactivity::careful(count, heart)),
    early_results: |jobs, to| scheduler::run(|| early_results::run(jobs, to)),
    control_deadline: |jobs, limit| scheduler::run(|| control::deadline(jobs, limit)),
    control_pause: |counter| scheduler::run(|| control::pause(counter)),
    idle_tasks: 10_000,
    resources_idle: |n, meter| scheduler::run(|| resources::idle(n, meter)),
    resources_ring: |n, laps| scheduler::run(|| resources::ring(n, laps)),
    server: |door, stop| scheduler::run(|| server::run(door, stop)),
    max_connections: max_connections::OTHERS,
    asides: &[
        Aside {
            name: "generators",
            slides: "23, 27",
            about: "functions that stop in the middle",
            run: asides::generators::run,
        },
        Aside {
            name: "delegation",
            slides: "23",
            about: "yield from: all passes through",
            run: asides::delegation::run,
        },
        Aside {
            name: "greenlets",
            slides: "23",
            about: "switch by name, parent and child",
            run: asides::greenlets::run,
        },
        Aside {
            name: "scheduler",
            slides: "22-23",
            about: "the ladder from turns to sockets",
            run: asides::scheduler::run,
        },
    ],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("K1", Seen::Ordering(order::order_is_the_same)),
        Claim("K2", Seen::Interactivity(heart::nothing_runs_until_one_yields)),
        Claim("K3", Seen::Aside("generators", asides::generators::stop_in_the_middle)),
        Claim("K4", Seen::Aside("delegation", asides::delegation::all_passes_through)),
        Claim("K5", Seen::Aside("greenlets", asides::greenlets::switch_and_climb)),
        Claim("K6", Seen::CpuBound(cpu::no_faster_on_one_thread)),
        Claim("K7", Seen::EarlyResults(early::long_before_the_last)),
        Claim("K8", Seen::Control(ctl::the_caller_decides)),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[COROUTINES])
}
