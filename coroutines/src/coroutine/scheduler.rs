//! Greenlets that take turns on one thread.
//!
//! A task is a coroutine with a stack of its own. It runs until it waits or yields; then the
//! next one in the queue runs. Nothing here is `Send`, so the compiler proves that there is one thread.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::source::Source;
use super::trampoline::{Fiber, State, Trampoline};
use super::unwind::{is_unwinding, unwind};
use super::wait::{wait, wait_any};

/// Runs `main` with the thread's scheduler around it and returns what it returns. Whenever `main`
/// waits, its tasks run. A task that is still unfinished when `main` returns is closed.
///
/// # Panics
///
/// When it is called inside `run`.
pub fn run<T>(main: impl FnOnce() -> T) -> T {
    /// On return and on panic: no task outlives `run`.
    struct Running;
    impl Drop for Running {
        fn drop(&mut self) {
            Trampoline::with(Trampoline::finish);
        }
    }
    Trampoline::with(Trampoline::begin);
    let _running = Running;
    main()
}

/// Starts `body` as a task. It does not run before its spawner waits. (`gevent.spawn`)
///
/// # Panics
///
/// When the kernel has no stack left; [`try_spawn`] reports that as an error.
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> Task<T> {
    try_spawn(body).unwrap_or_else(|error| panic!("{error}"))
}

/// As [`spawn`]. The error says how many tasks there are and which limit of the kernel was reached.
pub fn try_spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> io::Result<Task<T>> {
    let result = Rc::new(Cell::new(None));
    let kept = Rc::clone(&result);
    let body = move |closed: bool| {
        let ended = catch_unwind(AssertUnwindSafe(move || {
            if closed {
                // While it unwinds, the variables of the body could not be dropped: that may panic
                // too.
                drop(body);
                unwind();
            }
            body()
        }));
        let ended = ended.map_err(|payload| match payload {
            payload if is_unwinding(&*payload) => Failed::Closed,
            payload => Failed::Panicked(payload),
        });
        // If no task keeps the result, this drops it.
        let _ = catch_unwind(AssertUnwindSafe(move || kept.set(Some(ended))));
    };
    match Trampoline::with(|trampoline| trampoline.start(body)) {
        Ok(fiber) => Ok(Task { fiber, result }),
        Err(error) => {
            let tasks = Trampoline::with(Trampoline::tasks);
            Err(io::Error::new(error.kind(), format!("{error}. There are {tasks} tasks")))
        }
    }
}

/// Lets all other tasks run first. (`gevent.sleep(0)`)
#[inline]
pub fn yield_now() {
    Trampoline::with(|trampoline| {
        // A stack that is being unwound cannot yield.
        if !thread::panicking() {
            trampoline.suspend(State::Next);
        }
    });
}

/// Waits for a length of time. (`gevent.sleep`)
///
/// Returns early only in a task that is being unwound.
pub fn sleep(time: Duration) {
    // A time too late for the clock is no deadline.
    let _ = wait_any(&[], Instant::now().checked_add(time));
}

/// A spawned task. Dropping it lets the task go on; it is closed when [`run`] ends.
pub struct Task<T> {
    fiber: Rc<Fiber>,
    result: Rc<Cell<Option<Result<T, Failed>>>>,
}

impl<T> Task<T> {
    /// Waits for the task's end and returns its result. (`greenlet.get`)
    ///
    /// # Errors
    ///
    /// The task panicked, was closed, or can never end because all tasks wait for each other.
    pub fn join(self) -> Result<T, Failed> {
        wait(self.done(), None).map_err(Failed::Stuck)?;
        self.result.take().unwrap_or(Err(Failed::Closed))
    }

    /// The end of the task, as a source for [`wait_any`].
    pub fn done(&self) -> Source<'_> {
        Source::Event(&self.fiber.done)
    }

    pub fn is_finished(&self) -> bool {
        self.done().is_set()
    }

    /// Ends the task at its current wait: its stack is unwound and its destructors run, before
    /// `close` returns. A task that has not started never starts. A task that is running, or is
    /// closing the caller, ends at its next wait. (`generator.close`, `greenlet.kill`)
    ///
    /// # Panics
    ///
    /// If the task panics when it is unwound: with the same panic.
    pub fn close(&self) {
        if self.is_finished() {
            return;
        }
        Trampoline::with(|trampoline| trampoline.close(&self.fiber));
        match self.result.take() {
            Some(Err(Failed::Panicked(payload))) if !thread::panicking() => resume_unwind(payload),
            result => self.result.set(result),
        }
    }
}

/// Why a task has no result.
pub enum Failed {
    /// The task panicked, with this payload.
    Panicked(Box<dyn Any + Send>),
    /// [`Task::close`] ended it.
    Closed,
    /// Its end cannot be waited for.
    Stuck(io::Error),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Panicked(payload) => write!(f, "the task panicked: {}", said(&**payload)),
            Failed::Closed => f.write_str("the task was closed"),
            Failed::Stuck(error) => write!(f, "the task cannot be joined: {error}"),
        }
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failed {}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> io::Error {
        match failed {
            Failed::Stuck(error) => error,
            failed => io::Error::other(failed.to_string()),
        }
    }
}

/// The message of a panic.
pub fn said(payload: &(dyn Any + Send)) -> &str {
    if let Some(words) = payload.downcast_ref::<&str>() {
        words
    } else if let Some(words) = payload.downcast_ref::<String>() {
        words
    } else {
        "(no words)"
    }
}

#[cfg(test)]
mod tests;
