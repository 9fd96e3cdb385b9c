//! Time, and calls at a later time: `reactor.callLater` and `twisted.internet.task.Clock`.
//!
//! The reactor and a test use the same [`ReactorTime`]. The reactor's follows the time of day. That
//! of a test's [`Clock`] changes only in [`Clock::advance`]. The same code runs on both, so
//! the tests of this style do not wait.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) type Call = Box<dyn FnOnce()>;

/// Later than the end of any program: the time of a call with a delay that is too long to add.
const FAR: Duration = Duration::from_hours(24 * 365);

/// A handle on a queue of calls ordered by time; a clone is another handle on the same queue.
#[derive(Clone)]
pub struct ReactorTime(Rc<Timers>);

struct Timers {
    /// The time on a clock that is set by hand; `None` on one that follows the time of day.
    by_hand: Cell<Option<Instant>>,
    /// Calls that are due at the same time run in the order in which they were made.
    calls: RefCell<BTreeMap<(Instant, u64), Call>>,
    made: Cell<u64>,
    /// The reactor has stopped: new calls are dropped.
    closed: Cell<bool>,
}

impl ReactorTime {
    /// The time of a reactor: it follows the time of day, and the reactor runs the calls that are
    /// due.
    pub(crate) fn real() -> ReactorTime {
        ReactorTime::showing(None)
    }

    fn showing(by_hand: Option<Instant>) -> ReactorTime {
        ReactorTime(Rc::new(Timers {
            by_hand: Cell::new(by_hand),
            calls: RefCell::default(),
            made: Cell::new(0),
            closed: Cell::new(false),
        }))
    }

    /// What this clock shows (`IReactorTime.seconds`).
    pub fn now(&self) -> Instant {
        self.0.by_hand.get().unwrap_or_else(Instant::now)
    }

    /// Calls `function` once, when `delay` has passed (`IReactorTime.callLater`).
    pub fn call_later(&self, delay: Duration, function: impl FnOnce() + 'static) -> DelayedCall {
        let serial = self.0.made.get();
        self.0.made.set(serial + 1);
        let key = (self.after(delay), serial);
        if !self.0.closed.get() {
            self.0.calls.borrow_mut().insert(key, Box::new(function));
        }
        DelayedCall { clock: self.clone(), key: Cell::new(key) }
    }

    /// When the next call is due, if one is waiting.
    pub(crate) fn next(&self) -> Option<Instant> {
        let calls = self.0.calls.borrow();
        calls.first_key_value().map(|((due, _), _)| *due)
    }

    /// Passes the calls that are due now to `run`. Calls that they schedule are due in a later
    /// turn: a call that always schedules the next one does not block the reactor.
    pub(crate) fn run_due(&self, run: impl Fn(Call)) {
        let now = self.now();
        while let Some(call) = self.take_due(now) {
            run(call);
        }
    }

    fn take_due(&self, now: Instant) -> Option<Call> {
        let mut calls = self.0.calls.borrow_mut();
        let first = calls.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Drops all calls, now and from now on.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
        // Moved out before they are dropped, because their destructors may use this clock.
        let calls = self.0.calls.take();
        drop(calls);
    }

    fn after(&self, delay: Duration) -> Instant {
        let now = self.now();
        now.checked_add(delay).unwrap_or_else(|| now + FAR)
    }
}

impl AsRef<ReactorTime> for ReactorTime {
    fn as_ref(&self) -> &ReactorTime {
        self
    }
}

/// A clock that changes only in [`advance`](Clock::advance) (`task.Clock`).
#[derive(Clone)]
pub struct Clock(ReactorTime);

impl Clock {
    /// A clock that has not been advanced yet.
    #[allow(clippy::new_without_default)] // as its neighbors are made
    pub fn new() -> Clock {
        Clock(ReactorTime::showing(Some(Instant::now())))
    }

    /// Advances the clock and runs the calls that are due, in the order of their time.
    pub fn advance(&self, by: Duration) {
        let timers = &self.0.0;
        timers.by_hand.set(Some(self.now() + by));
        self.run_due(|call| call());
    }
}

impl Deref for Clock {
    type Target = ReactorTime;

    fn deref(&self) -> &ReactorTime {
        &self.0
    }
}

impl AsRef<ReactorTime> for Clock {
    fn as_ref(&self) -> &ReactorTime {
        &self.0
    }
}

/// A call at a later time (`IDelayedCall`). Dropping it does not cancel it.
pub struct DelayedCall {
    clock: ReactorTime,
    key: Cell<(Instant, u64)>,
}

impl DelayedCall {
    /// Cancels it. False if it has been made or cancelled already.
    #[allow(clippy::must_use_candidate)]
    pub fn cancel(&self) -> bool {
        let call = self.clock.0.calls.borrow_mut().remove(&self.key.get());
        call.is_some()
    }

    /// Moves it: `delay` counts from now. False if it has been made or cancelled already.
    #[allow(clippy::must_use_candidate)]
    pub fn reset(&self, delay: Duration) -> bool {
        let mut calls = self.clock.0.calls.borrow_mut();
        let Some(call) = calls.remove(&self.key.get()) else {
            return false;
        };
        let key = (self.clock.after(delay), self.key.get().1);
        calls.insert(key, call);
        self.key.set(key);
        true
    }

    /// Whether it is still to come.
    pub fn active(&self) -> bool {
        self.clock.0.calls.borrow().contains_key(&self.key.get())
    }
}
