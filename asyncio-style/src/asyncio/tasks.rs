//! Coroutines, and the ways to wait for one or several (`asyncio.tasks`).

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Release},
};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::event_loop::{EventLoop, Step, ThreadsafeHandle, TimerHandle};
use super::exceptions::{Exception, RuntimeError};
use super::futures::{Future, Watch};
use super::queues::Queue;

/// A coroutine that the loop steps (`asyncio.Task`). It is itself a future, so it can be awaited
/// and cancelled. Cancelling drops the coroutine, so its destructors run: Rust has no
/// `CancelledError` to catch.
pub type Task<T> = Future<T>;

type Body<T> = Pin<Box<dyn std::future::Future<Output = T>>>;

struct Coroutine<T: 'static> {
    /// Empty while it runs.
    body: RefCell<Option<Body<T>>>,
    done: Future<T>,
    wakeup: Arc<Wakeup>,
}

impl<T> Step for Coroutine<T> {
    /// `Task.__step`.
    fn step(&self) {
        let Some(mut body) = self.body.take() else { return };
        self.wakeup.asked.store(false, Release);
        self.done.set_running(true);
        let waker = Waker::from(Arc::clone(&self.wakeup));
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(&mut context)));
        self.done.set_running(false);
        match polled {
            Ok(Poll::Pending) if self.done.done() => {} // cancelled from within
            Ok(Poll::Pending) => *self.body.borrow_mut() = Some(body),
            Ok(Poll::Ready(value)) => {
                self.done.event_loop().remove_task(self.wakeup.number);
                self.done.set_result(value);
            }
            Err(panic) => {
                // It ends the task, and then continues in the caller that runs the loop.
                self.done.event_loop().remove_task(self.wakeup.number);
                self.done.set_exception(RuntimeError("the task has panicked"));
                resume_unwind(panic);
            }
        }
    }

    fn cancel(&self) {
        self.done.cancel();
    }
}

/// `Task.__wakeup`: asks the loop for one more step. It may be called from any thread.
struct Wakeup {
    number: u64,
    /// Whether a step has been requested.
    asked: AtomicBool,
    threadsafe: ThreadsafeHandle,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.asked.swap(true, AcqRel) {
            return;
        }
        let number = self.number;
        // It fails only if the loop is closed, and then its tasks are cancelled.
        let _ = self.threadsafe.call_soon_threadsafe(move |event_loop| event_loop.step(number));
    }
}

impl EventLoop {
    /// Lets the loop step `body`, from its next turn on (`loop.create_task`). A closed loop drops
    /// it, and the task is cancelled.
    pub fn create_task<T: 'static>(
        &self,
        body: impl std::future::Future<Output = T> + 'static,
    ) -> Task<T> {
        let (number, done) = (self.number(), self.create_future());
        let asked = AtomicBool::new(true);
        let wakeup = Arc::new(Wakeup { number, asked, threadsafe: self.threadsafe() });
        let body = RefCell::new(Some(Box::pin(body) as Body<T>));
        self.add_task(number, Rc::new(Coroutine { body, done: done.clone(), wakeup }));
        let event_loop = self.clone();
        done.on_cancel(move || event_loop.remove_task(number));
        if self.is_closed() {
            done.cancel();
        }
        let event_loop = self.clone();
        self.call_soon(move || event_loop.step(number));
        done
    }

    /// Runs the loop until `future` is done (`loop.run_until_complete`).
    ///
    /// # Errors
    ///
    /// The future was cancelled, or ended with an error; the loop was stopped before; or the errors
    /// of [`EventLoop::run_forever`].
    pub fn run_until_complete<T: Clone + 'static>(
        &self,
        future: &Future<T>,
    ) -> Result<T, Exception> {
        let running = self.begin_running()?;
        let event_loop = self.clone();
        let stops = future.watch(move |_| event_loop.stop());
        self.run()?;
        drop((stops, running));
        let stopped = RuntimeError("the event loop was stopped before the future was done");
        future.result().unwrap_or_else(|| Err(stopped.into()))
    }

    /// Done when `delay` has passed since it was first waited for; 0: in the next turn
    /// (`asyncio.sleep`).
    pub fn sleep(&self, delay: Duration) -> Future<()> {
        let (future, event_loop) = (self.create_future(), self.clone());
        future.on_first_wait(move |future| {
            if delay.is_zero() {
                return future.set_result(());
            }
            let done = future.clone();
            let timer = event_loop.call_later(delay, move || done.set_result(()));
            future.on_cancel(move || timer.cancel());
        });
        future
    }

    /// Waits for `task`, but no longer than `timeout`; then cancels it (`asyncio.wait_for`). With a
    /// timeout of 0, a task that has not begun never begins.
    ///
    /// # Errors
    ///
    /// The errors of the task; `TimedOut` if it was too late.
    pub async fn wait_for<T: Clone + 'static>(
        &self,
        task: Task<T>,
        timeout: Duration,
    ) -> Result<T, Exception> {
        let late = Rc::new(Cell::new(timeout.is_zero() && task.cancel()));
        let (victim, timed_out) = (task.clone(), Rc::clone(&late));
        let expire = move || timed_out.set(victim.cancel());
        let timer = CancelOnDrop(self.call_later(timeout, expire));
        let result = task.await;
        drop(timer);
        if late.get() { Err(io::Error::from(io::ErrorKind::TimedOut).into()) } else { result }
    }
}

struct CancelOnDrop(TimerHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// All results, in the order of `tasks` (`asyncio.gather`). Cancelling it cancels all of them.
///
/// # Errors
///
/// The first error to occur. The other tasks go on, as in asyncio.
pub async fn gather<T: Clone + 'static>(tasks: Vec<Task<T>>) -> Result<Vec<T>, Exception> {
    let mut children = Children { tasks: &tasks, waiting: true };
    let mut completions = Completions::of(&tasks);
    while let Some(n) = completions.next().await? {
        if let Some(Err(error)) = tasks[n].result() {
            children.waiting = false;
            return Err(error);
        }
    }
    children.waiting = false;
    tasks.iter().map(|task| task.result().expect("all are done")).collect()
}

/// All results and errors, in the order of `tasks` (`gather(return_exceptions=True)`). Cancelling
/// it cancels all of them.
///
/// # Errors
///
/// The wait itself was cancelled.
pub async fn gather_return_exceptions<T: Clone + 'static>(
    tasks: Vec<Task<T>>,
) -> Result<Vec<Result<T, Exception>>, Exception> {
    let mut children = Children { tasks: &tasks, waiting: true };
    let mut completions = Completions::of(&tasks);
    while completions.next().await?.is_some() {}
    children.waiting = false;
    Ok(tasks.iter().map(|task| task.result().expect("all are done")).collect())
}

/// The tasks of a gather, which are cancelled with it.
struct Children<'a, T: 'static> {
    tasks: &'a [Task<T>],
    waiting: bool,
}

impl<T> Drop for Children<'_, T> {
    fn drop(&mut self) {
        for task in self.tasks.iter().filter(|_| self.waiting) {
            task.cancel();
        }
    }
}

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReturnWhen {
    /// One of them is done.
    FirstCompleted,
    /// One of them has ended with an error, or all are done.
    FirstException,
    /// All are done.
    AllCompleted,
}

/// Waits for one or all of `tasks`. Returns those that are done and those that are pending; these
/// go on (`asyncio.wait`).
///
/// # Errors
///
/// There are no tasks; the wait was cancelled.
pub async fn wait<T: Clone + 'static>(
    tasks: &[Task<T>],
    return_when: ReturnWhen,
) -> Result<(Vec<Task<T>>, Vec<Task<T>>), Exception> {
    if tasks.is_empty() {
        return Err(RuntimeError("there are no tasks to wait for").into());
    }
    let mut completions = Completions::of(tasks);
    while let Some(n) = completions.next().await? {
        let enough = match return_when {
            ReturnWhen::FirstCompleted => true,
            ReturnWhen::FirstException => {
                matches!(tasks[n].result(), Some(Err(Exception::Raised(_))))
            }
            ReturnWhen::AllCompleted => false,
        };
        if enough {
            break;
        }
    }
    Ok(tasks.iter().cloned().partition(Future::done))
}

/// The numbers of tasks as they end, the fastest first. Dropping it stops watching them.
pub(super) struct Completions<T: 'static> {
    _watches: Vec<Watch<T>>,
    left: usize,
    done: Option<Queue<usize>>,
}

impl<T: 'static> Completions<T> {
    pub(super) fn of(tasks: &[Task<T>]) -> Completions<T> {
        let done = tasks.first().map(|task| Queue::new(task.event_loop(), 0));
        let mut watches = Vec::new();
        for (n, task) in tasks.iter().enumerate() {
            let done = done.clone().expect("there is a first");
            watches.push(task.watch(move |_| done.put_nowait(n).expect("it is never full")));
        }
        Completions { left: watches.len(), _watches: watches, done }
    }

    /// `None`: all have ended.
    pub(super) async fn next(&mut self) -> Result<Option<usize>, Exception> {
        let Some(done) = self.done.as_ref().filter(|_| self.left > 0) else { return Ok(None) };
        let n = done.get().await?;
        self.left -= 1;
        Ok(Some(n))
    }
}

/// A queue that receives the tasks as they end, the fastest first (`asyncio.as_completed`).
pub fn as_completed<T: 'static>(event_loop: &EventLoop, tasks: &[Task<T>]) -> Queue<Task<T>> {
    let done = Queue::new(event_loop, 0);
    for task in tasks {
        let done = done.clone();
        task.add_done_callback(move |task| drop(done.put_nowait(task.clone())));
    }
    done
}

/// A future that ends as `inner` does. If it is cancelled, `inner` goes on (`asyncio.shield`).
pub fn shield<T: Clone + 'static>(event_loop: &EventLoop, inner: &Task<T>) -> Future<T> {
    let outer = event_loop.create_future();
    let shielded = outer.clone();
    let watch = inner.watch(move |inner| match inner.result().expect("it is done") {
        Ok(value) => shielded.set_result(value),
        Err(error) => shielded.set_exception(error),
    });
    outer.on_cancel(move || drop(watch));
    outer
}
