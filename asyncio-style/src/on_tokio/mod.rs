//! The workloads on tokio, the loop that most of the ecosystem runs on.

use tokio::runtime::{Builder, LocalOptions};

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
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default());
    runtime.expect("there is a descriptor left for an epoll").block_on(main)
}
