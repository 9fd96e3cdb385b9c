//! The workloads on smol, whose executor is small enough to be read in an evening.

use std::io;
use std::time::Instant;

use smol::{LocalExecutor, Task, Timer};

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

thread_local! {
    // smol's executor is a value, not a place: one for this thread takes the part that the
    // running loop has in asyncio.
    static EXECUTOR: LocalExecutor<'static> = const { LocalExecutor::new() };
}

/// Runs the loop until `main` is done, as `asyncio.run(main)` does: one thread, this one.
pub fn run<T>(main: impl Future<Output = T>) -> T {
    EXECUTOR.with(|executor| smol::block_on(executor.run(main)))
}

/// What tokio and async-std have under this name.
mod task {
    pub(super) use super::spawn_local;
    pub(super) use smol::future::yield_now;
}

/// Starts a task on this thread's executor (`asyncio.create_task`).
pub fn spawn_local<T: 'static>(task: impl Future<Output = T> + 'static) -> Task<T> {
    EXECUTOR.with(|executor| executor.spawn(task))
}

/// Loses every race until the deadline, and wins with an error then.
async fn late<T>(deadline: Instant) -> io::Result<T> {
    Timer::at(deadline).await;
    Err(io::ErrorKind::TimedOut.into())
}
