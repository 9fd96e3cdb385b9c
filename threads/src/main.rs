//! Threads: simple, synchronous calls, scheduled by the operating system. Slides 6-15.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Aside, Chapter, Claim, Seen};
use common::limits::max_connections;
use common::workload::{cpu_bound as cpu, interactivity as heart, io_bound as io};
use common::workload::{ordering as order, shared_state as state};

mod asides;
mod control;
mod cpu_bound;
mod early_results;
mod interactivity;
mod io_bound;
mod ordering;
mod resources;
mod server;
mod shared_state;

const THREADS: Chapter = Chapter {
    style: "threads",
    event_loop: None,
    slides: "6-15",
    waits: "the OS parks a thread that waits and preempts one that runs",
    at_most: 10_000,
    io_bound: io_bound::run,
    io_bound_bounded: io_bound::bounded,
    cpu_bound: cpu_bound::run,
    ordering: ordering::run,
    shared_state_careless: shared_state::careless,
    shared_state_careful: shared_state::careful,
    shared_state_also: &[],
    interactivity_careless: interactivity::careless,
    interactivity_careful: interactivity::careful,
    early_results: early_results::run,
    control_deadline: control::deadline,
    control_pause: control::pause,
    idle_tasks: 1_000,
    resources_idle: resources::idle,
    resources_ring: resources::ring,
    server: server::run,
    max_connections: max_connections::THREADS,
    asides: &[
        Aside {
            name: "gil",
            slides: "12-14",
            about: "one lock for all that run, as in CPython",
            run: asides::gil::run,
        },
        Aside {
            name: "rayon-pool",
            slides: "9-11",
            about: "the pool one would use: work stealing",
            run: asides::rayon_pool::run,
        },
        Aside {
            name: "deadlock",
            slides: "15",
            about: "two locks in two orders, and a panic",
            run: asides::deadlock::run,
        },
        Aside {
            name: "left-behind",
            slides: "27",
            about: "no longer waited for, a thread goes on",
            run: asides::left_behind::careless,
        },
    ],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("T1", Seen::Read("threads/src/io_bound.rs, exchange")),
        Claim("T2", Seen::Ordering(order::preempted)),
        Claim("T3", Seen::Ordering(order::order_differs)),
        Claim("T4", Seen::IoBound(io::waits_overlap)),
        Claim("T5", Seen::CpuBound(cpu::no_faster_for_a_lock)),
        Claim("T6", Seen::Aside("gil", asides::gil::one_runs_at_a_time)),
        Claim("T7", Seen::Aside("gil", asides::gil::one_loses_nothing)),
        Claim("T8", Seen::Aside("gil", asides::gil::three_gain_nothing)),
        Claim("T9", Seen::CpuBound(cpu::no_faster_for_a_lock)),
        Claim("T10", Seen::Interactivity(heart::others_go_on)),
        Claim("T11", Seen::SharedState(state::updates_get_lost)),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[THREADS])
}
