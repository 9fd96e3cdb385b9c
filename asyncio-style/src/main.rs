//! asyncio: coroutines on an explicit loop, on three of Rust's loops. Slides 28-36.
//! This file is the table of contents; start reading at `on_tokio/io_bound.rs`.

use std::process::ExitCode;

use common::chapter::{Aside, Chapter, Claim, Seen};
use common::limits::max_connections;
use common::workload::shared_state::Version;
use common::workload::{cpu_bound as cpu, interactivity as heart, server as serve};

mod asides;
mod asyncio;
mod on_async_std;
mod on_smol;
mod on_tokio;

use asides::{callbacks, loops, many_threads, waiting};

const ON_TOKIO: Chapter = Chapter {
    style: "asyncio-style",
    event_loop: Some("tokio"),
    slides: "28-29, 36",
    waits: "a task that awaits hands the thread back to the loop",
    at_most: 1_000_000,
    io_bound: |jobs| on_tokio::run(on_tokio::io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| on_tokio::run(on_tokio::io_bound::bounded(jobs, n)),
    cpu_bound: |counts| on_tokio::run(on_tokio::cpu_bound::run(counts)),
    ordering: |all| on_tokio::run(on_tokio::ordering::run(all)),
    shared_state_careless: |bank| on_tokio::run(on_tokio::shared_state::careless(bank)),
    shared_state_careful: |bank| on_tokio::run(on_tokio::shared_state::careful(bank)),
    shared_state_also: &[Version::locked(|bank| {
        on_tokio::run(on_tokio::shared_state::locked(bank))
    })],
    interactivity_careless: |count, heart| {
        on_tokio::run(on_tokio::interactivity::careless(count, heart))
    },
    interactivity_careful: |count, heart| {
        on_tokio::run(on_tokio::interactivity::careful(count, heart))
    },
    early_results: |jobs, to| on_tokio::run(on_tokio::early_results::run(jobs, to)),
    control_deadline: |jobs, limit| on_tokio::run(on_tokio::control::deadline(jobs, limit)),
    control_pause: |counter| on_tokio::run(on_tokio::control::pause(counter)),
    idle_tasks: 10_000,
    resources_idle: |n, meter| on_tokio::run(on_tokio::resources::idle(n, meter)),
    resources_ring: |n, laps| on_tokio::run(on_tokio::resources::ring(n, laps)),
    server: |door, stop| on_tokio::run(on_tokio::server::run(door, stop)),
    max_connections: max_connections::OTHERS,
    asides: &[
        Aside {
            name: "callbacks",
            slides: "36",
            about: "two APIs, one loop: callbacks and coroutines",
            run: callbacks::run,
        },
        Aside {
            name: "waiting",
            slides: "36",
            about: "gather, wait_for, shield, Queue, TaskGroup",
            run: waiting::run,
        },
        Aside {
            name: "loops",
            slides: "36",
            about: "what differs between tokio, async-std and smol",
            run: loops::run,
        },
        Aside {
            name: "many-threads",
            slides: "36",
            about: "tokio on several threads: faster, no order",
            run: many_threads::run,
        },
    ],
    claims: &[
        Claim("C1", Seen::IoAndCpu(cpu::more_under_way_than_cores)),
        Claim("C2", Seen::IoAndCpu(cpu::baselines_are_sums)),
        Claim("A1", Seen::Interactivity(heart::one_stalls_everybody)),
        Claim("A2", Seen::IoAndServer(serve::one_thread_many_connections)),
        Claim("A3", Seen::Server(serve::the_same_task)),
        Claim("S1", Seen::Aside("callbacks", callbacks::callbacks_suffice)),
        Claim("S2", Seen::Aside("callbacks", callbacks::coroutines_are_callbacks)),
        Claim("S3", Seen::Aside("loops", loops::replaceable)),
        Claim("S4", Seen::Read("Cargo.toml: the language has async, a crate brings the loop")),
    ],
};

const ON_ASYNC_STD: Chapter = Chapter {
    event_loop: Some("async-std"),
    io_bound: |jobs| on_async_std::run(on_async_std::io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| on_async_std::run(on_async_std::io_bound::bounded(jobs, n)),
    cpu_bound: |counts| on_async_std::run(on_async_std::cpu_bound::run(counts)),
    ordering: |all| on_async_std::run(on_async_std::ordering::run(all)),
    shared_state_careless: |bank| on_async_std::run(on_async_std::shared_state::careless(bank)),
    shared_state_careful: |bank| on_async_std::run(on_async_std::shared_state::careful(bank)),
    shared_state_also: &[Version::locked(|bank| {
        on_async_std::run(on_async_std::shared_state::locked(bank))
    })],
    interactivity_careless: |count, heart| {
        on_async_std::run(on_async_std::interactivity::careless(count, heart))
    },
    interactivity_careful: |count, heart| {
        on_async_std::run(on_async_std::interactivity::careful(count, heart))
    },
    early_results: |jobs, to| on_async_std::run(on_async_std::early_results::run(jobs, to)),
    control_deadline: |jobs, limit| on_async_std::run(on_async_std::control::deadline(jobs, limit)),
    control_pause: |counter| on_async_std::run(on_async_std::control::pause(counter)),
    resources_idle: |n, meter| on_async_std::run(on_async_std::resources::idle(n, meter)),
    resources_ring: |n, laps| on_async_std::run(on_async_std::resources::ring(n, laps)),
    server: |door, stop| on_async_std::run(on_async_std::server::run(door, stop)),
    ..ON_TOKIO
};

const ON_SMOL: Chapter = Chapter {
    event_loop: Some("smol"),
    io_bound: |jobs| on_smol::run(on_smol::io_bound::run(jobs)),
    io_bound_bounded: |jobs, n| on_smol::run(on_smol::io_bound::bounded(jobs, n)),
    cpu_bound: |counts| on_smol::run(on_smol::cpu_bound::run(counts)),
    ordering: |all| on_smol::run(on_smol::ordering::run(all)),
    shared_state_careless: |bank| on_smol::run(on_smol::shared_state::careless(bank)),
    shared_state_careful: |bank| on_smol::run(on_smol::shared_state::careful(bank)),
    shared_state_also: &[Version::locked(|bank| on_smol::run(on_smol::shared_state::locked(bank)))],
    interactivity_careless: |count, heart| {
        on_smol::run(on_smol::interactivity::careless(count, heart))
    },
    interactivity_careful: |count, heart| {
        on_smol::run(on_smol::interactivity::careful(count, heart))
    },
    early_results: |jobs, to| on_smol::run(on_smol::early_results::run(jobs, to)),
    control_deadline: |jobs, limit| on_smol::run(on_smol::control::deadline(jobs, limit)),
    control_pause: |counter| on_smol::run(on_smol::control::pause(counter)),
    resources_idle: |n, meter| on_smol::run(on_smol::resources::idle(n, meter)),
    resources_ring: |n, laps| on_smol::run(on_smol::resources::ring(n, laps)),
    server: |door, stop| on_smol::run(on_smol::server::run(door, stop)),
    ..ON_TOKIO
};

fn main() -> ExitCode {
    Chapter::main(&[ON_TOKIO, ON_ASYNC_STD, ON_SMOL])
}
