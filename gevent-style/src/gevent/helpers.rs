//! Helper OS threads for calls that cannot cooperate: gevent's thread pool.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::gevent::hub;
use crate::gevent::waiter::{OnKill, Waiter, in_greenlet, lock, locked, uncooperative};

/// Helper threads; gevent's pool has ten too.
pub const HELPERS: usize = 10;

/// Runs `f` on one of at most ten helper OS threads, and parks the greenlet until it is done:
/// gevent's `threadpool.apply`. A panic in `f` continues in the caller.
pub fn offload<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if !in_greenlet() {
        return f();
    }
    run_elsewhere(f, Helpers::run)
}

/// Like `offload`, on a thread of its own: for calls that may take arbitrarily long and must not
/// occupy one of the ten.
pub fn offload_unbounded<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if !in_greenlet() {
        return f();
    }
    run_elsewhere(f, |job| {
        let job = Arc::new(Mutex::new(Some(job)));
        let theirs = job.clone();
        let started = thread::Builder::new().spawn(move || run_once(&theirs));
        // No thread is left: the call blocks the hub, as it would unpatched, but its result is
        // right.
        if started.is_err() {
            run_once(&job);
        }
    })
}

/// What runs on another thread.
pub type Job = Box<dyn FnOnce() + Send>;

fn run_once(job: &Mutex<Option<Job>>) {
    if let Some(job) = locked(job, Option::take) {
        job();
    }
}

fn run_elsewhere<R: Send>(f: impl FnOnce() -> R + Send, start: impl FnOnce(Job)) -> R {
    // SAFETY: both `start`s pass the job to a thread, or run it themselves if there is none.
    #[expect(unsafe_code, reason = "the job borrows from this stack")]
    unsafe {
        run_borrowed(f, |job| uncooperative(|| start(job)))
    }
}

/// Lets `start` run `f` on another thread, waits, and returns the result. A panic in `f` continues
/// here.
///
/// # Safety
///
/// `start` runs the job, or passes it to code that does. `f` may borrow: this does not return
/// before the job is over, and a panic that would unwind past it ends the program.
#[expect(unsafe_code, reason = "a job that borrows from a parked stack")]
pub unsafe fn run_borrowed<R: Send>(f: impl FnOnce() -> R + Send, start: impl FnOnce(Job)) -> R {
    let waiter = Waiter::new();
    let result: Mutex<Option<thread::Result<R>>> = Mutex::new(None);
    let borrowed = AbortOnDrop;
    {
        let (result, waiter) = (&result, waiter.clone());
        let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(f));
            locked(result, |result| *result = Some(outcome));
            waiter.wake();
        });
        // SAFETY: only the lifetime changes. The job has run when `park` returns, no kill ends that
        // wait, and `borrowed` stops a panic from unwinding past it.
        start(unsafe { mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) });
    }
    hub::park(&waiter, None, OnKill::Defer);
    mem::forget(borrowed);
    let outcome = locked(&result, Option::take);
    match outcome.expect("the waiter is woken after the result is set") {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

/// Guards data that another thread has borrowed.
struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// The helper threads: started if there are more jobs than threads, and kept.
#[derive(Default)]
struct Helpers {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static HELPING: Mutex<Helpers> = Mutex::new(Helpers { jobs: VecDeque::new(), threads: 0, idle: 0 });
static MORE_TO_DO: Condvar = Condvar::new();

impl Helpers {
    fn run(job: Job) {
        let mut helpers = lock(&HELPING);
        helpers.jobs.push_back(job);
        if helpers.jobs.len() > helpers.idle && helpers.threads < HELPERS {
            let started = thread::Builder::new().name("helper".into()).spawn(Self::help);
            helpers.threads += usize::from(started.is_ok());
        }
        // No thread is left: the call blocks the hub, as it would unpatched, but its result is
        // right.
        if helpers.threads == 0
            && let Some(job) = helpers.jobs.pop_front()
        {
            drop(helpers);
            job();
            return;
        }
        MORE_TO_DO.notify_one();
    }

    fn help() {
        let mut helpers = lock(&HELPING);
        loop {
            if let Some(job) = helpers.jobs.pop_front() {
                drop(helpers);
                job();
                helpers = lock(&HELPING);
            } else {
                helpers.idle += 1;
                helpers = MORE_TO_DO.wait(helpers).unwrap_or_else(PoisonError::into_inner);
                helpers.idle -= 1;
            }
        }
    }
}
