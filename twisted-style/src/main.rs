//! Twisted: an explicit reactor that calls back, and Deferreds. Slides 28-29, 33-35.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Aside, Chapter, Claim, Seen};
use common::limits::max_connections;
use common::workload::shared_state::Version;
use common::workload::{cpu_bound as cpu, interactivity as heart, server as serve};

mod clock;
mod control;
mod cpu_bound;
mod deferred;
mod early_results;
mod interactivity;
mod io_bound;
mod ordering;
mod protocol;
mod reactor;
mod resources;
mod server;
mod shared_state;

const TWISTED_STYLE: Chapter = Chapter {
    style: "twisted-style",
    event_loop: None,
    slides: "28-29, 33-35",
    waits: "nobody waits: the reactor calls back when something has happened",
    at_most: 1_000_000,
    io_bound: io_bound::run,
    io_bound_bounded: io_bound::bounded,
    cpu_bound: cpu_bound::run,
    ordering: ordering::run,
    shared_state_careless: shared_state::careless,
    shared_state_careful: shared_state::careful,
    shared_state_also: &[Version::locked(shared_state::locked)],
    interactivity_careless: interactivity::careless,
    interactivity_careful: interactivity::careful,
    early_results: early_results::run,
    control_deadline: control::deadline,
    control_pause: control::pause,
    idle_tasks: 10_000,
    resources_idle: resources::idle,
    resources_ring: resources::ring,
    server: server::run,
    max_connections: max_connections::OTHERS,
    asides: &[
        Aside {
            name: "reactor",
            slides: "33",
            about: "the explicit loop, call by call",
            run: reactor::tour::aside,
        },
        Aside {
            name: "deferreds",
            slides: "33",
            about: "values and errors going down a chain",
            run: deferred::tour::aside,
        },
        Aside {
            name: "protocols",
            slides: "33",
            about: "a chat room; with --port, one for nc",
            run: protocol::chat::aside,
        },
        Aside {
            name: "clock",
            slides: "33",
            about: "time by hand: tests that wait for nothing",
            run: clock::tour::aside,
        },
        Aside {
            name: "inline-callbacks",
            slides: "29, 33",
            about: "the same chain as an async block",
            run: deferred::inline::aside,
        },
    ],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("A1", Seen::Interactivity(heart::one_stalls_everybody)),
        Claim("A2", Seen::IoAndServer(serve::one_thread_many_connections)),
        Claim("A3", Seen::Server(serve::the_same_task)),
        Claim("W1", Seen::Aside("reactor", reactor::tour::explicit_loop)),
        Claim("W2", Seen::Aside("protocols", protocol::chat::batteries)),
        Claim("W3", Seen::Aside("deferreds", deferred::tour::chains)),
        Claim("W4", Seen::Interactivity(heart::deferred_to_a_thread)),
    ],
};

fn main() -> ExitCode {
    Chapter::main(&[TWISTED_STYLE])
}
