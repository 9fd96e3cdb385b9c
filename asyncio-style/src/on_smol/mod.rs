//! The workloads on smol, whose executor is small enough to read in an evening.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
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
    // smol's executor is a value. This is the executor of the running loop.
    static RUNNING: RefCell<Option<Rc<LocalExecutor<'static>>>> = const { RefCell::new(None) };
}

/// Runs the loop until `main` is done, as `asyncio.run(main)` does: one thread, this one. Tasks
/// that are pending then are cancelled.
pub fn run<T>(main: impl Future<Output = T>) -> T {
    let executor = Rc::new(LocalExecutor::new());
    let running = Running(RUNNING.replace(Some(Rc::clone(&executor))));
    let result = smol::block_on(executor.run(main));
    drop((executor, running));
    result
}

/// The loop that ran before. It continues when this is dropped.
struct Running(Option<Rc<LocalExecutor<'static>>>);

impl Drop for Running {
    fn drop(&mut self) {
        // An executor that is dropped cancels its tasks. Tasks that their destructors spawn go to
        // the next executor, which does not run.
        drop(RUNNING.replace(Some(Rc::default())));
        drop(RUNNING.replace(self.0.take()));
    }
}

/// The same names as in tokio and async-std.
pub mod task {
    use super::{RUNNING, Task};
    pub use smol::future::yield_now;

    /// Starts a task on the loop that runs (`asyncio.create_task`).
    ///
    /// # Panics
    ///
    /// No loop runs.
    pub fn spawn_local<T: 'static>(task: impl Future<Output = T> + 'static) -> Task<T> {
        let executor = RUNNING.with_borrow(Clone::clone);
        executor.expect("a loop runs").spawn(task)
    }
}

/// Never wins a race before the deadline; then wins with an error.
async fn late<T>(deadline: Instant) -> io::Result<T> {
    Timer::at(deadline).await;
    Err(io::ErrorKind::TimedOut.into())
}
