//! Tasks that end together (`asyncio.taskgroups`).

use std::cell::RefCell;
use std::rc::Rc;

use super::event_loop::EventLoop;
use super::exceptions::Exception;
use super::tasks::{Completions, Task};

/// Tasks that end together: the first failure cancels the others, and so does dropping the group
/// before all have ended (`asyncio.TaskGroup`).
pub struct TaskGroup<T: Clone + 'static> {
    event_loop: EventLoop,
    children: Rc<Children<T>>,
}

struct Children<T: Clone + 'static> {
    tasks: RefCell<Vec<Task<Result<T, Exception>>>>,
    error: RefCell<Option<Exception>>,
}

impl<T: Clone + 'static> TaskGroup<T> {
    /// A group without tasks (`async with`).
    pub fn new(event_loop: &EventLoop) -> TaskGroup<T> {
        let children = Children { tasks: RefCell::default(), error: RefCell::new(None) };
        TaskGroup { event_loop: event_loop.clone(), children: Rc::new(children) }
    }

    /// Starts a task of the group. If one has already failed, the new task is cancelled at once.
    pub fn create_task(
        &mut self,
        body: impl Future<Output = Result<T, Exception>> + 'static,
    ) -> Task<Result<T, Exception>> {
        let task = self.event_loop.create_task(body);
        self.children.tasks.borrow_mut().push(task.clone());
        if self.children.error.borrow().is_some() {
            task.cancel();
        }
        let children = Rc::downgrade(&self.children);
        task.add_done_callback(move |task| {
            // A cancelled child is not a failure.
            if let (Some(children), Some(Ok(Err(error @ Exception::Raised(_))))) =
                (children.upgrade(), task.result())
            {
                children.fail(error);
            }
        });
        task
    }

    /// Waits for all of them: the end of `async with`. Returns the results of those that were not
    /// cancelled, in the order of starting.
    ///
    /// # Errors
    ///
    /// The first error in time; by then all others have been cancelled.
    pub async fn join(self) -> Result<Vec<T>, Exception> {
        let tasks = self.children.tasks.borrow().clone();
        let mut completions = Completions::of(&tasks);
        while completions.next().await?.is_some() {}
        if let Some(error) = self.children.error.take() {
            return Err(error);
        }
        Ok(tasks.iter().filter_map(|task| task.result()?.flatten().ok()).collect())
    }
}

impl<T: Clone + 'static> Children<T> {
    fn fail(&self, error: Exception) {
        let first = self.error.borrow().is_none();
        if first {
            *self.error.borrow_mut() = Some(error);
            self.cancel();
        }
    }

    fn cancel(&self) {
        let tasks = self.tasks.borrow().clone();
        for task in tasks {
            task.cancel();
        }
    }
}

impl<T: Clone + 'static> Drop for TaskGroup<T> {
    fn drop(&mut self) {
        self.children.cancel();
    }
}
