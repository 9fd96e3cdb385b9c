//! Coroutines, and the ways to wait for several (`asyncio.tasks`).

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Release},
};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use super::event_loop::{EventLoop, Step, ThreadsafeHandle};
use super::exceptions::Exception;
use super::futures::Future;
use super::queues::Queue;

/// A coroutine that the loop steps (`asyncio.Task`). It is a future itself, and so can be awaited
/// and cancelled. To cancel it drops the coroutine, whose destructors run: Rust has no
/// `CancelledError` to catch.
pub type Task<T> = Future<T>;

struct Coroutine<T> {
    body: RefCell<Option<Pin<Box<dyn std::future::Future<Output = T>>>>>,
    done: Future<T>,
    number: u64,
}

impl<T: Clone + 'static> Step for Coroutine<T> {
    /// `Task.__step`: runs the coroutine up to its next await.
    fn step(self: Rc<Self>, waker: &Waker) {
        let Some(mut body) = self.body.take() else { return };
        let event_loop = self.done.0.event_loop.clone();
        event_loop.0.steps.set(event_loop.0.steps.get() + 1);
        match body.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(value) => {
                event_loop.0.tasks.borrow_mut().remove(&self.number);
                self.done.set_result(value);
            }
            Poll::Pending if self.done.done() => {} // cancelled from within
            Poll::Pending => *self.body.borrow_mut() = Some(body),
        }
    }
}

/// `Task.__wakeup`: asks the loop for one more step. It may be called from any thread.
struct Wakeup {
    number: u64,
    asked: AtomicBool,
    threadsafe: ThreadsafeHandle,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        if self.asked.swap(true, AcqRel) {
            return; // a step is on its way
        }
        let threadsafe = self.threadsafe.clone();
        let step = move |event_loop: &EventLoop| {
            self.asked.store(false, Release);
            let task = event_loop.0.tasks.borrow().get(&self.number).cloned();
            if let Some(task) = task {
                task.step(&Waker::from(self));
            }
        };
        let at_home = threadsafe.home == thread::current().id();
        // Fails only when the loop is gone, and its tasks with it.
        let _ = threadsafe.sender.send(Box::new(step));
        if !at_home {
            let _ = threadsafe.poller.notify();
        }
    }
}

impl EventLoop {
    /// Has the loop step `body` from its next turn on (`loop.create_task`).
    pub fn create_task<T: Clone + 'static>(
        &self,
        body: impl std::future::Future<Output = T> + 'static,
    ) -> Task<T> {
        let number = self.number();
        let done = self.create_future();
        let body = RefCell::new(Some(Box::pin(body) as Pin<Box<_>>));
        let task = Rc::new(Coroutine { body, done: done.clone(), number });
        self.0.tasks.borrow_mut().insert(number, Rc::clone(&task) as Rc<dyn Step>);
        let event_loop = self.clone();
        done.on_cancel(move || drop(event_loop.0.tasks.borrow_mut().remove(&number)));
        let wakeup =
            Wakeup { number, asked: AtomicBool::new(false), threadsafe: self.threadsafe() };
        self.call_soon(move || task.step(&Waker::from(Arc::new(wakeup))));
        done
    }

    /// Runs the loop until `future` is done (`loop.run_until_complete`).
    ///
    /// # Errors
    ///
    /// The future was cancelled, or ended with an error.
    pub fn run_until_complete<T: Clone + 'static>(
        &self,
        future: &Future<T>,
    ) -> Result<T, Exception> {
        let event_loop = self.clone();
        future.add_done_callback(move |_| event_loop.stop());
        self.run_forever();
        future.result().unwrap_or(Err(Exception::Cancelled))
    }

    /// Done after `delay` (`asyncio.sleep`).
    pub fn sleep(&self, delay: Duration) -> Future<()> {
        let future = self.create_future();
        let done = future.clone();
        let timer = self.call_later(delay, move || done.set_result(()));
        future.on_cancel(move || timer.cancel());
        future
    }

    /// Waits for `task`, but no longer than `timeout`; then cancels it (`asyncio.wait_for`).
    ///
    /// # Errors
    ///
    /// As the task; `TimedOut` if it was too late.
    pub async fn wait_for<T: Clone + 'static>(
        &self,
        task: Task<T>,
        timeout: Duration,
    ) -> Result<T, Exception> {
        let (late, victim) = (Rc::new(Cell::new(false)), task.clone());
        let timed_out = Rc::clone(&late);
        let timer = self.call_later(timeout, move || timed_out.set(victim.cancel()));
        let result = task.await;
        timer.cancel();
        if late.get() { Err(io::Error::from(io::ErrorKind::TimedOut).into()) } else { result }
    }
}

/// All results, in the order of `tasks` (`asyncio.gather`).
///
/// # Errors
///
/// The first error in that order. The others go on, as in asyncio.
pub async fn gather<T: Clone + 'static>(tasks: Vec<Task<T>>) -> Result<Vec<T>, Exception> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await?);
    }
    Ok(results)
}

/// A queue from which the tasks come as they end, the quickest first (`asyncio.as_completed`).
pub fn as_completed<T: Clone + 'static>(
    event_loop: &EventLoop,
    tasks: &[Task<T>],
) -> Queue<Task<T>> {
    let done = Queue::new(event_loop, tasks.len());
    for task in tasks {
        let done = done.clone();
        task.add_done_callback(move |task| done.put_nowait(task.clone()));
    }
    done
}

/// A future that ends as `inner` does. If it is cancelled, `inner` goes on (`asyncio.shield`).
pub fn shield<T: Clone + 'static>(event_loop: &EventLoop, inner: &Task<T>) -> Future<T> {
    let outer = event_loop.create_future();
    let shielded = outer.clone();
    inner.add_done_callback(move |inner| match inner.result() {
        Some(Ok(value)) => shielded.set_result(value),
        Some(Err(error)) => shielded.set_exception(error),
        None => unreachable!("it is done"),
    });
    outer
}
