//! Threads: simple, synchronous calls, scheduled by the operating system. Slides 6-15.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::limits::max_connections;
use common::measure::{cpu_bound as cpu, interactivity as heart, io_bound as io};
use common::measure::{ordering as order, shared_state as state};
use common::program;
use common::registry::{Aside, Claim, read_it};
use common::style::{Style, Task};

mod asides;
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

const THREADS: Style = Style {
    name: "threads",
    program: "threads",
    event_loop: None,
    slides: "6-15",
    waits: "the OS parks a thread that waits and preempts one that runs",
    task: Task::Thread,
    at_most: 10_000,
    io_bound: io_bound::run,
    io_bound_bounded: io_bound::bounded,
    cpu_bound: cpu_bound::run,
    ordering: ordering::run,
    shared_state_careless: shared_state::careless,
    shared_state_careful: shared_state::careful,
    interactivity_careless: interactivity::careless,
    interactivity_careful: interactivity::careful,
    early_results: early_results::run,
    deadline: deadline::run,
    pause: pause::run,
    idle_tasks: 1_000,
    resources_idle: resources::idle,
    resources_ring: resources::ring,
    server: server::run,
    max_connections: max_connections::THREADS,
    also: &[],
};

const ASIDES: &[Aside] = &[
    Aside::new("gil", "12-14", "one lock for all that run, as in CPython", asides::gil::run),
    Aside::new(
        "rayon-pool",
        "9-11",
        "the pool one would use: work stealing",
        asides::rayon_pool::run,
    ),
    Aside::new("deadlock", "15", "two locks in two orders, and a panic", asides::deadlock::run),
    Aside::new(
        "left-behind",
        "27",
        "a thread that is no longer waited for goes on",
        asides::left_behind::careless,
    ),
];

const CLAIMS: &[Claim] = &[
    Claim("T1", |_| read_it("threads/src/io_bound.rs, exchange")),
    Claim("T2", |m| m.ordering.as_ref().map(order::preempted)),
    Claim("T3", |m| m.ordering.as_ref().map(order::order_differs)),
    Claim("T4", |m| m.io_bound.as_ref().map(io::waits_overlap)),
    Claim("T5", |m| m.cpu_bound.as_ref().map(cpu::no_faster_for_a_lock)),
    Claim("T6", |m| m.aside("gil").map(asides::gil::one_runs_at_a_time)),
    Claim("T7", |m| m.aside("gil").map(asides::gil::one_loses_nothing)),
    Claim("T8", |m| m.aside("gil").map(asides::gil::three_gain_nothing)),
    Claim("T9", |m| m.cpu_bound.as_ref().map(cpu::no_faster_for_a_lock)),
    Claim("T10", |m| m.interactivity.as_ref().map(heart::others_go_on)),
    Claim("T11", |m| m.shared_state.as_ref().map(state::updates_get_lost)),
];

fn main() -> ExitCode {
    program::main(&[THREADS], ASIDES, CLAIMS)
}
