//! Processes: simple, synchronous calls, scheduled by the operating system, nothing shared.
//! Slides 16-21. This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Aside, Chapter, Claim, Seen};
use common::limits::max_connections;
use common::workload::shared_state::{Leaves, Version};
use common::workload::{cpu_bound as cpu, io_bound as io};
use common::workload::{ordering as order, resources as cost, shared_state as state};

mod asides;
mod control;
mod cpu_bound;
mod early_results;
mod interactivity;
mod io_bound;
#[allow(dead_code, reason = "the tests use all of it")]
mod multiprocessing;
mod ordering;
mod resources;
mod server;
mod shared_state;

const PROCESSES: Chapter = Chapter {
    style: "processes",
    event_loop: None,
    slides: "16-21",
    waits: "the OS parks a process that waits and preempts one that runs",
    at_most: 500,
    io_bound: io_bound::run,
    io_bound_bounded: io_bound::bounded,
    cpu_bound: cpu_bound::run,
    ordering: ordering::run,
    shared_state_careless: shared_state::careless,
    shared_state_careful: shared_state::careful,
    shared_state_also: &[
        Version { name: "unshared", run: shared_state::unshared, leaves: Leaves::Untouched },
        Version { name: "orphaned", run: shared_state::orphaned, leaves: Leaves::Exact },
    ],
    interactivity_careless: interactivity::careless,
    interactivity_careful: interactivity::careful,
    early_results: early_results::run,
    control_deadline: control::deadline,
    control_pause: control::pause,
    idle_tasks: 100,
    resources_idle: resources::idle,
    resources_ring: resources::ring,
    server: server::run,
    max_connections: max_connections::PROCESSES,
    asides: &[
        Aside {
            name: "pool",
            slides: "21",
            about: "eight jobs, two workers, and SIGKILL",
            run: asides::pool::run,
        },
        Aside {
            name: "start-methods",
            slides: "16, 21",
            about: "fork, forkserver, spawn",
            run: asides::start_methods::run,
        },
    ],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("P1", Seen::Read("processes/src/io_bound.rs, exchange")),
        Claim("P2", Seen::Ordering(order::preempted)),
        Claim("P3", Seen::Ordering(order::order_differs)),
        Claim("P4", Seen::IoBound(io::waits_overlap)),
        Claim("P5", Seen::CpuBound(cpu::as_fast_as_the_cores)),
        Claim("P6", Seen::CpuBound(cpu::as_fast_as_the_cores)),
        Claim("P7", Seen::Resources(cost::more_than_a_thread)),
        Claim("P8", Seen::SharedState(state::only_what_is_shared_gets_lost)),
    ],
};

fn main() -> ExitCode {
    multiprocessing::start_methods::freeze_support();
    Chapter::main(&[PROCESSES])
}
