//! Tasks that end together (`asyncio.taskgroups`).

use super::event_loop::EventLoop;
use super::exceptions::Exception;
use super::tasks::{Task, as_completed, gather};

/// Tasks that end together: the first that fails has the others cancelled (`asyncio.TaskGroup`).
pub struct TaskGroup<T: Clone + 'static> {
    event_loop: EventLoop,
    tasks: Vec<Task<Result<T, Exception>>>,
}

impl<T: Clone + 'static> TaskGroup<T> {
    pub fn new(event_loop: &EventLoop) -> TaskGroup<T> {
        TaskGroup { event_loop: event_loop.clone(), tasks: Vec::new() }
    }

    /// Starts a task of the group.
    pub fn create_task(
        &mut self,
        body: impl std::future::Future<Output = Result<T, Exception>> + 'static,
    ) {
        self.tasks.push(self.event_loop.create_task(body));
    }

    /// Waits for all of them: the end of `async with`.
    ///
    /// # Errors
    ///
    /// The first error in time; by then all others have been cancelled.
    pub async fn join(self) -> Result<Vec<T>, Exception> {
        let done = as_completed(&self.event_loop, &self.tasks);
        for _ in &self.tasks {
            if let Err(error) = done.get().await?.await.flatten() {
                for task in &self.tasks {
                    task.cancel();
                }
                return Err(error);
            }
        }
        gather(self.tasks).await?.into_iter().collect()
    }
}
