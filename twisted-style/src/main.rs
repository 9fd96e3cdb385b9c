//! Twisted: an explicit reactor that calls back, and Deferreds. Slides 28-29, 33-35.
//! This file is the table of contents; start reading at `io_bound.rs`.

use std::process::ExitCode;

use common::limits::max_connections;
use common::measure::{interactivity as heart, server as serve};
use common::program;
use common::registry::{Aside, Claim, read_it};
use common::style::{Also, Style, Task};
use common::workload::shared_state::Leaves;

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
mod twisted;

const TWISTED_STYLE: Style = Style {
    name: "twisted-style",
    program: "twisted-style",
    event_loop: None,
    slides: "28-29, 33-35",
    waits: "no task blocks: the reactor calls back when something has happened",
    task: Task::Value,
    at_most: 1_000_000,
    io_bound: |jobs| twisted::run(|reactor| io_bound::run(reactor, jobs)),
    io_bound_bounded: |jobs, at_once| {
        twisted::run(|reactor| io_bound::bounded(reactor, jobs, at_once))
    },
    cpu_bound: |counts| twisted::run(|reactor| cpu_bound::run(reactor, counts)),
    ordering: |steps| twisted::run(|reactor| ordering::run(reactor, steps)),
    shared_state_careless: |bank| twisted::run(|reactor| shared_state::careless(reactor, bank)),
    shared_state_careful: |bank| twisted::run(|reactor| shared_state::careful(reactor, bank)),
    interactivity_careless: |count, heart| {
        twisted::run(|reactor| interactivity::careless(reactor, count, heart))
    },
    interactivity_careful: |count, heart| {
        twisted::run(|reactor| interactivity::careful(reactor, count, heart))
    },
    early_results: |jobs, arrivals| {
        twisted::run(|reactor| early_results::run(reactor, jobs, arrivals));
    },
    deadline: |jobs, limit| twisted::run(|reactor| deadline::run(reactor, jobs, limit)),
    pause: |counter| twisted::run(|reactor| pause::run(reactor, counter)),
    idle_tasks: 10_000,
    resources_idle: |n, meter| twisted::run(|reactor| resources::idle(reactor, n, meter)),
    resources_ring: |n, laps| twisted::run(|reactor| resources::ring(reactor, n, laps)),
    server: |listener, stop, limits| {
        twisted::run(|reactor| server::run(reactor, listener, stop, limits))
    },
    max_connections: max_connections::OTHERS,
    also: &[
        Also::IoBound("inline-callbacks", |jobs| {
            twisted::run(|reactor| io_bound::inline_callbacks(reactor, jobs))
        }),
        Also::SharedState(
            "locked",
            |bank| twisted::run(|reactor| shared_state::locked(reactor, bank)),
            Leaves::Exact,
        ),
    ],
};

const ASIDES: &[Aside] = &[
    Aside::new("reactor", "33", "the explicit loop, call by call", asides::reactor::aside),
    Aside::new("deferreds", "33", "values and errors going down a chain", asides::deferreds::aside),
    Aside::new("protocols", "33", "a chat room; with --port, one for nc", asides::chat::aside)
        .with_port(),
    Aside::new("clock", "33", "time by hand: tests that wait for nothing", asides::clock::aside),
    Aside::new(
        "inline-callbacks",
        "29, 33",
        "the same chain as an async block",
        asides::inline_callbacks::aside,
    ),
];

const CLAIMS: &[Claim] = &[
    Claim("A1", |m| m.interactivity.as_ref().map(heart::one_stalls_everybody)),
    Claim("A2", |m| {
        Some(serve::one_thread_many_connections(m.io_bound.as_ref()?, m.server.as_ref()?))
    }),
    Claim("A3", |_| read_it("twisted-style/src/server.rs, exchange; `compare` judges it")),
    Claim("W1", |m| m.aside("reactor").map(asides::reactor::explicit_loop)),
    Claim("W2", |m| m.aside("protocols").map(asides::chat::batteries)),
    Claim("W3", |m| m.aside("deferreds").map(asides::deferreds::chains)),
    Claim("W4", |m| m.interactivity.as_ref().map(heart::deferred_to_a_thread)),
];

fn main() -> ExitCode {
    program::main(&[TWISTED_STYLE], ASIDES, CLAIMS)
}
