//! Processes: simple, synchronous calls, scheduled by the operating system, nothing shared.
//! Slides 16-21. This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::limits::max_connections;
use common::measure::{cpu_bound as cpu, io_bound as io};
use common::measure::{ordering as order, resources as cost, shared_state as state};
use common::program;
use common::registry::{Aside, Claim, read_it};
use common::style::{Also, Style, Task};
use common::workload::shared_state::Leaves;
use nix::sys::signal::{SigHandler, Signal};

use crate::multiprocessing::child::set_handler;

mod asides;
mod cpu_bound;
mod deadline;
mod early_results;
#[cfg(test)]
mod exercises;
mod interactivity;
mod io_bound;
#[allow(dead_code, reason = "the tests use all of it")]
mod multiprocessing;
mod ordering;
mod pause;
mod resources;
mod server;
mod shared_state;

const PROCESSES: Style = Style {
    name: "processes",
    program: "processes",
    event_loop: None,
    slides: "16-21",
    waits: "the OS parks a process that waits and preempts one that runs",
    task: Task::Process,
    at_most: 500,
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
    idle_tasks: 100,
    resources_idle: resources::idle,
    resources_ring: resources::ring,
    server: server::run,
    max_connections: max_connections::PROCESSES,
    also: &[
        Also::SharedState("unshared", shared_state::unshared, Leaves::Untouched),
        Also::SharedState("orphaned", shared_state::orphaned, Leaves::Exact),
    ],
};

const ASIDES: &[Aside] = &[
    Aside::new("pool", "21", "eight jobs, two workers, and SIGKILL", asides::pool::run),
    Aside::new("start-methods", "16, 21", "fork, forkserver, spawn", asides::start_methods::run),
];

const CLAIMS: &[Claim] = &[
    Claim("P1", |_| read_it("processes/src/io_bound.rs, exchange")),
    Claim("P2", |m| m.ordering.as_ref().map(order::preempted)),
    Claim("P3", |m| m.ordering.as_ref().map(order::order_differs)),
    Claim("P4", |m| m.io_bound.as_ref().map(io::waits_overlap)),
    Claim("P5", |m| m.cpu_bound.as_ref().map(cpu::as_fast_as_the_cores)),
    Claim("P6", |m| m.cpu_bound.as_ref().map(cpu::as_fast_as_the_cores)),
    Claim("P7", |m| m.resources.as_ref().map(cost::more_than_a_thread)),
    Claim("P8", |m| m.shared_state.as_ref().map(state::only_what_is_shared_gets_lost)),
];

fn main() -> ExitCode {
    // The program that started this one may ignore SIGCHLD, and this one inherits that. Then the
    // kernel would not report the end of a child.
    set_handler(Signal::SIGCHLD, SigHandler::SigDfl);
    multiprocessing::start_methods::freeze_support(asides::start_methods::FUNCTIONS);
    program::main(&[PROCESSES], ASIDES, CLAIMS)
}
