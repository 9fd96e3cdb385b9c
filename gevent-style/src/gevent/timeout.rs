//! Our own waits, which a kill or the end of a `with_timeout` unwinds: `gevent.sleep` and
//! `gevent.timeout`. That unwinding is not a panic: nothing is printed, and only destructors run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::gevent::hub;
use crate::gevent::waiter::{
    self, Life, OnKill, Waiter, Wake, cannot_wait_while_unwinding, in_greenlet, is_greenlet,
};

/// The payload that unwinds a killed greenlet, and the error of its join: gevent's `GreenletExit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GreenletExit;

/// A `with_timeout` expired: `gevent.Timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout;

/// A time from now; `None` if it is too late for the clock.
pub fn from_now(span: Option<Duration>) -> Option<Instant> {
    span.and_then(|span| Instant::now().checked_add(span))
}

/// `gevent.sleep`: parks the calling greenlet. `Duration::ZERO` gives all others a turn. A kill
/// ends it by unwinding. (A patched `thread::sleep` does the same, but cannot unwind.)
pub fn sleep(duration: Duration) {
    if in_greenlet() {
        unwind_if_told(hub::sleep(duration, OnKill::Report));
    } else {
        thread::sleep(duration);
    }
}

/// Parks until the waiter is woken (true) or the time is up (false).
/// A kill, or the end of a `with_timeout` around it, unwinds.
pub fn wait(waiter: &Arc<Waiter>, until: Option<Instant>) -> bool {
    let woken = hub::park(waiter, until, OnKill::Report);
    unwind_if_told(woken);
    woken == Wake::Ready
}

fn unwind_if_told(woken: Wake) {
    if matches!(woken, Wake::Killed | Wake::OutOfTime) && thread::panicking() {
        cannot_wait_while_unwinding();
    }
    match woken {
        Wake::Ready | Wake::TimedOut => {}
        Wake::Killed => resume_unwind(Box::new(GreenletExit)),
        Wake::OutOfTime => resume_unwind(Box::new(Timeout)),
    }
}

/// `gevent.with_timeout`: runs `f`. When the time is up, its waits fail: calls of std with
/// `ErrorKind::TimedOut`, ours by unwinding. Code that never waits is not stopped, and its result
/// is returned.
///
/// # Errors
///
/// `Timeout` if its end has ended a wait.
///
/// # Panics
///
/// In an OS thread, whose calls cannot be ended early.
#[track_caller]
pub fn with_timeout<R>(duration: Duration, f: impl FnOnce() -> R) -> Result<R, Timeout> {
    assert!(is_greenlet(), "with_timeout is for greenlets: it cannot cut a call of an OS thread");
    let Some(until) = Instant::now().checked_add(duration) else {
        return Ok(f());
    };
    let limit = waiter::limit(until).expect("a greenlet's waits can be capped");
    let result = catch_unwind(AssertUnwindSafe(f)).map_err(what_unwinds);
    let cut = limit.has_cut();
    drop(limit);
    match result {
        Ok(value) if !cut => Ok(value),
        Ok(_) => Err(Timeout),
        // If an outer `with_timeout` with an earlier end unwinds, it continues there.
        Err(reason) if reason.is::<Timeout>() && cut => Err(Timeout),
        Err(reason) => resume_unwind(reason),
    }
}

/// The reason of an unwinding: if std panicked because a wait was ended early, this returns why the
/// wait was ended.
pub fn what_unwinds(caught: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
    match Life::current().and_then(|life| life.take_panic_of_std()) {
        Some(Wake::Killed) => Box::new(GreenletExit),
        Some(_) => Box::new(Timeout),
        None => caught,
    }
}
