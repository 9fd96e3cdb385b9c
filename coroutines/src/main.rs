//! Coroutines: generators and greenlets, which schedule themselves. Slides 22-27.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::limits::max_connections;
use common::measure::{
    cpu_bound as cpu, early_results as early, interactivity as heart, ordering as order,
    pause as producer,
};
use common::program;
use common::registry::{Aside, Claim};
use common::style::{Also, Style, Task};
use common::workload::shared_state::Leaves;

use coroutine::scheduler;

mod asides;
mod coroutine;
mod cpu_bound;
mod deadline;
mod early_results;
#[cfg(test)]
mod exercises;
mod interactivity;
mod io_bound;
mod ordering;
mod pause;
mod resources;
mod server;
mod shared_state;

const COROUTINES: Style = Style {
    name: "coroutines",
    program: "coroutines",
    event_loop: None,
    slides: "22-27",
    waits: "a greenlet that waits yields what it waits for to the scheduler",
    task: Task::Stack,
    at_most: 30_000,
    io_bound: |jobs| scheduler::run(|| io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| scheduler::run(|| io_bound::bounded(jobs, n)),
    cpu_bound: |counts| scheduler::run(|| cpu_bound::run(counts)),
    ordering: |all| scheduler::run(|| ordering::run(all)),
    shared_state_careless: |bank| scheduler::run(|| shared_state::careless(bank)),
    shared_state_careful: |bank| scheduler::run(|| shared_state::careful(bank)),
    interactivity_careless: |count, heart| scheduler::run(|| interactivity::careless(count, heart)),
    interactivity_careful: |count, heart| scheduler::run(|| interactivity::careful(count, heart)),
    early_results: |jobs, to| scheduler::run(|| early_results::run(jobs, to)),
    deadline: |jobs, limit| scheduler::run(|| deadline::run(jobs, limit)),
    pause: |counter| scheduler::run(|| pause::run(counter)),
    idle_tasks: 10_000,
    resources_idle: |n, meter| scheduler::run(|| resources::idle(n, meter)),
    resources_ring: |n, laps| scheduler::run(|| resources::ring(n, laps)),
    server: |listener, stop, limits| scheduler::run(|| server::run(listener, stop, limits)),
    max_connections: max_connections::OTHERS,
    also: &[Also::SharedState(
        "locked",
        |bank| scheduler::run(|| shared_state::locked(bank)),
        Leaves::Exact,
    )],
};

const ASIDES: &[Aside] = &[
    Aside::new(
        "generators",
        "23, 27",
        "functions that stop in the middle",
        asides::generators::run,
    ),
    Aside::new("delegation", "23", "yield from: all passes through", asides::delegation::run),
    Aside::new("greenlets", "23", "switch by name, parent and child", asides::greenlets::run),
    Aside::new("scheduler", "22-23", "the ladder from turns to sockets", asides::scheduler::run),
];

const CLAIMS: &[Claim] = &[
    Claim("K1", |m| m.ordering.as_ref().map(order::order_is_the_same)),
    Claim("K2", |m| m.interactivity.as_ref().map(heart::nothing_runs_until_one_yields)),
    Claim("K3", |m| m.aside("generators").map(asides::generators::stop_in_the_middle)),
    Claim("K4", |m| m.aside("delegation").map(asides::delegation::all_passes_through)),
    Claim("K5", |m| m.aside("greenlets").map(asides::greenlets::switch_and_climb)),
    Claim("K6", |m| m.cpu_bound.as_ref().map(cpu::no_faster_on_one_thread)),
    Claim("K7", |m| m.early_results.as_ref().map(early::long_before_the_last)),
    Claim("K8", |m| m.pause.as_ref().map(producer::the_caller_decides)),
];

fn main() -> ExitCode {
    program::main(&[COROUTINES], ASIDES, CLAIMS)
}
