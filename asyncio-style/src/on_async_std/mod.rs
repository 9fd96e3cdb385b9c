//! The workloads on async-std, the loop that lost: discontinued in 2025 in favor of smol
//! (RUSTSEC-2025-0052), kept here because the comparison of three loops is the point.

pub mod cpu_bound;
pub mod deadline;
pub mod early_results;
pub mod interactivity;
pub mod io_bound;
pub mod ordering;
pub mod pause;
pub mod resources;
pub mod server;
pub mod shared_state;

/// Runs the loop until `main` is done, as `asyncio.run(main)` does: one thread, this one.
pub fn run<T>(main: impl Future<Output = T>) -> T {
    async_std::task::block_on(main)
}
