//! asyncio: coroutines on an explicit loop, on three of Rust's loops. Slides 28-36.
//! This file is the table of contents; start reading at `on_tokio/io_bound.rs`.

use std::process::ExitCode;

use common::limits::max_connections;
use common::measure::{interactivity as heart, server as serve};
use common::program;
use common::registry::{Aside, Claim, read_it};
use common::style::{Also, Style, Task};
use common::workload::shared_state::Leaves;

mod asides;
mod asyncio;
#[cfg(test)]
mod exercises;
mod on_async_std;
mod on_smol;
mod on_tokio;

use asides::{callbacks, loops, many_threads, waiting};

const ON_TOKIO: Style = Style {
    name: "on_tokio",
    program: "asyncio-style",
    event_loop: Some("tokio"),
    slides: "28-29, 36",
    waits: "a task that awaits hands the thread back to the loop",
    task: Task::Value,
    at_most: 1_000_000,
    io_bound: |jobs| on_tokio::run(on_tokio::io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| on_tokio::run(on_tokio::io_bound::bounded(jobs, n)),
    cpu_bound: |counts| on_tokio::run(on_tokio::cpu_bound::run(counts)),
    ordering: |all| on_tokio::run(on_tokio::ordering::run(all)),
    shared_state_careless: |bank| on_tokio::run(on_tokio::shared_state::careless(bank)),
    shared_state_careful: |bank| on_tokio::run(on_tokio::shared_state::careful(bank)),
    interactivity_careless: |count, heart| {
        on_tokio::run(on_tokio::interactivity::careless(count, heart))
    },
    interactivity_careful: |count, heart| {
        on_tokio::run(on_tokio::interactivity::careful(count, heart))
    },
    early_results: |jobs, to| on_tokio::run(on_tokio::early_results::run(jobs, to)),
    deadline: |jobs, limit| on_tokio::run(on_tokio::deadline::run(jobs, limit)),
    pause: |counter| on_tokio::run(on_tokio::pause::run(counter)),
    idle_tasks: 10_000,
    resources_idle: |n, meter| on_tokio::run(on_tokio::resources::idle(n, meter)),
    resources_ring: |n, laps| on_tokio::run(on_tokio::resources::ring(n, laps)),
    server: |listener, stop, limits| on_tokio::run(on_tokio::server::run(listener, stop, limits)),
    max_connections: max_connections::OTHERS,
    also: &[
        Also::CpuBound("thread-pool", |counts| {
            on_tokio::run(on_tokio::cpu_bound::thread_pool(counts))
        }),
        Also::SharedState(
            "locked",
            |bank| on_tokio::run(on_tokio::shared_state::locked(bank)),
            Leaves::Exact,
        ),
    ],
};

const ON_ASYNC_STD: Style = Style {
    name: "on_async_std",
    event_loop: Some("async-std"),
    io_bound: |jobs| on_async_std::run(on_async_std::io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| on_async_std::run(on_async_std::io_bound::bounded(jobs, n)),
    cpu_bound: |counts| on_async_std::run(on_async_std::cpu_bound::run(counts)),
    ordering: |all| on_async_std::run(on_async_std::ordering::run(all)),
    shared_state_careless: |bank| on_async_std::run(on_async_std::shared_state::careless(bank)),
    shared_state_careful: |bank| on_async_std::run(on_async_std::shared_state::careful(bank)),
    interactivity_careless: |count, heart| {
        on_async_std::run(on_async_std::interactivity::careless(count, heart))
    },
    interactivity_careful: |count, heart| {
        on_async_std::run(on_async_std::interactivity::careful(count, heart))
    },
    early_results: |jobs, to| on_async_std::run(on_async_std::early_results::run(jobs, to)),
    deadline: |jobs, limit| on_async_std::run(on_async_std::deadline::run(jobs, limit)),
    pause: |counter| on_async_std::run(on_async_std::pause::run(counter)),
    resources_idle: |n, meter| on_async_std::run(on_async_std::resources::idle(n, meter)),
    resources_ring: |n, laps| on_async_std::run(on_async_std::resources::ring(n, laps)),
    server: |listener, stop, limits| {
        on_async_std::run(on_async_std::server::run(listener, stop, limits))
    },
    also: &[
        Also::CpuBound("thread-pool", |counts| {
            on_async_std::run(on_async_std::cpu_bound::thread_pool(counts))
        }),
        Also::SharedState(
            "locked",
            |bank| on_async_std::run(on_async_std::shared_state::locked(bank)),
            Leaves::Exact,
        ),
    ],
    ..ON_TOKIO
};

const ON_SMOL: Style = Style {
    name: "on_smol",
    event_loop: Some("smol"),
    io_bound: |jobs| on_smol::run(on_smol::io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| on_smol::run(on_smol::io_bound::bounded(jobs, n)),
    cpu_bound: |counts| on_smol::run(on_smol::cpu_bound::run(counts)),
    ordering: |all| on_smol::run(on_smol::ordering::run(all)),
    shared_state_careless: |bank| on_smol::run(on_smol::shared_state::careless(bank)),
    shared_state_careful: |bank| on_smol::run(on_smol::shared_state::careful(bank)),
    interactivity_careless: |count, heart| {
        on_smol::run(on_smol::interactivity::careless(count, heart))
    },
    interactivity_careful: |count, heart| {
        on_smol::run(on_smol::interactivity::careful(count, heart))
    },
    early_results: |jobs, to| on_smol::run(on_smol::early_results::run(jobs, to)),
    deadline: |jobs, limit| on_smol::run(on_smol::deadline::run(jobs, limit)),
    pause: |counter| on_smol::run(on_smol::pause::run(counter)),
    resources_idle: |n, meter| on_smol::run(on_smol::resources::idle(n, meter)),
    resources_ring: |n, laps| on_smol::run(on_smol::resources::ring(n, laps)),
    server: |listener, stop, limits| on_smol::run(on_smol::server::run(listener, stop, limits)),
    also: &[
        Also::CpuBound("thread-pool", |counts| {
            on_smol::run(on_smol::cpu_bound::thread_pool(counts))
        }),
        Also::SharedState(
            "locked",
            |bank| on_smol::run(on_smol::shared_state::locked(bank)),
            Leaves::Exact,
        ),
    ],
    ..ON_TOKIO
};

const ASIDES: &[Aside] = &[
    Aside::new("callbacks", "36", "two APIs, one loop: callbacks and coroutines", callbacks::run),
    Aside::new("waiting", "36", "gather, wait_for, shield, Queue, TaskGroup", waiting::run),
    Aside::new("loops", "36", "what differs between the three loops", loops::run),
    Aside::new(
        "many-threads",
        "36",
        "tokio on several threads: faster, no order",
        many_threads::run,
    ),
];

const CLAIMS: &[Claim] = &[
    Claim("A1", |m| m.interactivity.as_ref().map(heart::one_stalls_everybody)),
    Claim("A2", |m| {
        Some(serve::one_thread_many_connections(m.io_bound.as_ref()?, m.server.as_ref()?))
    }),
    Claim("A3", |_| read_it("asyncio-style/src/on_tokio/server.rs, exchange; `compare` judges it")),
    Claim("S1", |m| m.aside("callbacks").map(callbacks::callbacks_suffice)),
    Claim("S2", |m| m.aside("callbacks").map(callbacks::coroutines_are_callbacks)),
    Claim("S3", |m| m.aside("loops").map(loops::replaceable)),
    Claim("S4", |_| read_it("Cargo.toml: the language has async, a crate brings the loop")),
];

fn main() -> ExitCode {
    program::main(&[ON_TOKIO, ON_ASYNC_STD, ON_SMOL], ASIDES, CLAIMS)
}
