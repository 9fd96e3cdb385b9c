//! Time, and what is to happen later: `reactor.callLater`, and Twisted's `task` module with its
//! `Clock`, its `LoopingCall` and its `Cooperator`.
//!
//! The reactor and a test use the same [`Clock`]: the reactor's follows the time of day, a test's
//! stands still until somebody calls [`Clock::advance`]. What is written for the one runs on the
//! other, and the tests of this style wait for nothing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::deferred::{Deferred, Failure, Reply, Resolver, maybe_deferred};

type Call = Box<dyn FnOnce()>;

/// Farther than any program runs; what is due "never" is due then.
const FAR: Duration = Duration::from_hours(24 * 365);

/// A handle on a queue of calls ordered by time; a clone is another handle on the same queue.
#[derive(Clone)]
pub struct Clock(Rc<Timers>);

struct Timers {
    /// The time on a clock that is set by hand; `None` on one that follows the time of day.
    by_hand: Cell<Option<Instant>>,
    /// Calls that are due at the same time run in the order in which they were made.
    calls: RefCell<BTreeMap<(Instant, u64), Call>>,
    made: Cell<u64>,
    /// Nothing is scheduled any more: the reactor has stopped.
    closed: Cell<bool>,
}

impl Clock {
    /// A clock that stands still until [`advance`](Clock::advance) (Twisted's `task.Clock`).
    #[allow(clippy::new_without_default)] // there are two kinds of clock, neither is the default
    pub fn new() -> Clock {
        Clock::showing(Some(Instant::now()))
    }

    /// The clock of a reactor: it goes by itself, and the reactor runs what is due.
    pub(crate) fn real() -> Clock {
        Clock::showing(None)
    }

    fn showing(by_hand: Option<Instant>) -> Clock {
        Clock(Rc::new(Timers {
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

    /// Fires when `delay` has passed (`task.deferLater`). Cancelling it calls that off.
    pub fn defer_later(&self, delay: Duration) -> Deferred<()> {
        let (resolver, later) = Deferred::new();
        let call = self.call_later(delay, move || resolver.callback(()));
        later.with_canceller(move || {
            call.cancel();
        })
    }

    /// Sets a clock forward by hand and runs what has become due, in the order of time.
    pub fn advance(&self, by: Duration) {
        self.0.by_hand.set(Some(self.now() + by));
        self.run_due();
    }

    /// When the next call is due, if one is waiting.
    pub(crate) fn next(&self) -> Option<Instant> {
        let calls = self.0.calls.borrow();
        calls.first_key_value().map(|((due, _), _)| *due)
    }

    /// Runs what is due now. What these calls schedule in turn is due later: a real clock has
    /// gone on by then, so a call that always schedules the next one starves nobody.
    pub(crate) fn run_due(&self) {
        let now = self.now();
        while let Some(call) = self.take_due(now) {
            call();
        }
    }

    fn take_due(&self, now: Instant) -> Option<Call> {
        let mut calls = self.0.calls.borrow_mut();
        let first = calls.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Forgets all calls, those too that are still to be asked for.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
        // Out of the queue before they are dropped: what they own may use this clock as it goes.
        let calls = self.0.calls.take();
        drop(calls);
    }

    fn after(&self, delay: Duration) -> Instant {
        let now = self.now();
        now.checked_add(delay).unwrap_or_else(|| now + FAR)
    }
}

impl AsRef<Clock> for Clock {
    fn as_ref(&self) -> &Clock {
        self
    }
}

/// A call that is to come (`IDelayedCall`). Dropping it does not call it off.
pub struct DelayedCall {
    clock: Clock,
    key: Cell<(Instant, u64)>,
}

impl DelayedCall {
    /// Calls it off. False if there was nothing left to call off.
    #[allow(clippy::must_use_candidate)]
    pub fn cancel(&self) -> bool {
        let call = self.clock.0.calls.borrow_mut().remove(&self.key.get());
        call.is_some()
    }

    /// Moves it: `delay` counts from now. False if it has been made or called off.
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

/// Calls a function again and again (`task.LoopingCall`). A clone is another handle on the same
/// loop.
#[derive(Clone)]
pub struct LoopingCall(Rc<Looping>);

struct Looping {
    clock: Clock,
    /// Away while it is called.
    function: Cell<Option<Looped>>,
    interval: Cell<Duration>,
    started: Cell<Instant>,
    next: RefCell<Option<DelayedCall>>,
    done: Cell<Option<Resolver<()>>>,
    running: Cell<bool>,
}

type Looped = Box<dyn FnMut(&LoopingCall) -> Deferred<()>>;

impl LoopingCall {
    /// A loop that has not been started. If `function` returns a Deferred, the next call waits
    /// for it; if it fails, the loop ends. It is handed the loop, so that it can stop it without
    /// owning its own owner.
    pub fn new<R: Reply<Value = ()>>(
        clock: &impl AsRef<Clock>,
        mut function: impl FnMut(&LoopingCall) -> R + 'static,
    ) -> LoopingCall {
        let clock = clock.as_ref().clone();
        let function = move |looping: &LoopingCall| maybe_deferred(|| function(looping));
        LoopingCall(Rc::new(Looping {
            function: Cell::new(Some(Box::new(function))),
            interval: Cell::new(Duration::ZERO),
            started: Cell::new(clock.now()),
            next: RefCell::new(None),
            done: Cell::new(None),
            running: Cell::new(false),
            clock,
        }))
    }

    /// Calls it now and then every `interval`. What takes longer than that skips calls and keeps
    /// the beat: the next one is at a multiple of `interval` from here. The Deferred fires when
    /// the loop is stopped, with an error when the function fails; cancelling it stops the loop.
    /// A loop that was stopped may be started again.
    pub fn start(&self, interval: Duration) -> Deferred<()> {
        assert!(!self.0.running.replace(true), "the loop is running");
        let (resolver, done) = Deferred::new();
        self.0.done.set(Some(resolver));
        self.0.interval.set(interval);
        self.0.started.set(self.0.clock.now());
        self.call();
        let looping = Rc::downgrade(&self.0);
        done.with_canceller(move || {
            if let Some(looping) = looping.upgrade() {
                LoopingCall(looping).stop();
            }
        })
    }

    /// Ends the loop: after the call under way, if there is one.
    pub fn stop(&self) {
        self.end(Ok(()));
    }

    /// Whether it has been started and not stopped.
    pub fn running(&self) -> bool {
        self.0.running.get()
    }

    fn end(&self, result: Result<(), Failure>) {
        self.0.running.set(false);
        if let Some(next) = self.0.next.take() {
            next.cancel();
        }
        if let Some(done) = self.0.done.take() {
            done.fire(result);
        }
    }

    fn call(&self) {
        // Away: started from inside its own call. When that ends, it goes on.
        let Some(mut function) = self.0.function.take() else { return };
        let called = function(self);
        self.0.function.set(Some(function));
        let looping = self.clone();
        let rest = called.add_both(move |result| match result {
            Ok(()) if looping.running() => looping.schedule(),
            Ok(()) => {}
            Err(failure) => looping.end(Err(failure)),
        });
        drop(rest); // what it comes to is told by `done`
    }

    fn schedule(&self) {
        let interval = self.0.interval.get();
        let elapsed = self.0.clock.now() - self.0.started.get();
        // To the next beat that is not over yet.
        let gone = elapsed.as_nanos().checked_rem(interval.as_nanos()).unwrap_or(0);
        let delay = interval.saturating_sub(Duration::from_nanos(gone as u64));
        let looping = self.clone();
        let next = self.0.clock.call_later(delay, move || looping.call());
        if let Some(before) = self.0.next.replace(Some(next)) {
            before.cancel();
        }
    }
}

/// Shares the reactor's thread between tasks that compute, in small steps (`task.Cooperator`):
/// each task is an iterator, a step is one `next`, and between two rounds of steps the reactor
/// has its turn. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Cooperator(Rc<Cooperating>);

struct Cooperating {
    clock: Clock,
    /// How long the tasks may go on before the reactor has its turn.
    slice: Duration,
    tasks: RefCell<VecDeque<Rc<Cooperative>>>,
    scheduled: Cell<bool>,
}

/// A task. It does not own its cooperator, whose queue may own it.
struct Cooperative {
    /// Away while it takes a step, gone when the task has ended.
    steps: Cell<Option<Steps>>,
    done: Cell<Option<Resolver<()>>>,
    pauses: Cell<usize>,
    queued: Cell<bool>,
    stopped: Cell<bool>,
}

type Steps = Box<dyn Iterator<Item = Deferred<()>>>;

impl Cooperator {
    /// Twisted gives the tasks 10 ms at a time; here it is 1 ms, which a heart beat survives.
    pub fn new(clock: &impl AsRef<Clock>) -> Cooperator {
        Cooperator::with_slice(clock, Duration::from_millis(1))
    }

    /// With another time; `ZERO` is one step at a time.
    pub fn with_slice(clock: &impl AsRef<Clock>, slice: Duration) -> Cooperator {
        Cooperator(Rc::new(Cooperating {
            clock: clock.as_ref().clone(),
            slice,
            tasks: RefCell::default(),
            scheduled: Cell::new(false),
        }))
    }

    /// Adds a task. A step may return a Deferred: the task then pauses until that has fired. The
    /// task ends when its iterator does, or with the first error.
    pub fn cooperate<I>(&self, steps: I) -> CooperativeTask
    where
        I: IntoIterator<Item: Reply<Value = ()>>,
        I::IntoIter: 'static,
    {
        let steps = steps.into_iter().map(|step| maybe_deferred(move || step));
        let (resolver, done) = Deferred::new();
        let task = Rc::new(Cooperative {
            steps: Cell::new(Some(Box::new(steps))),
            done: Cell::new(Some(resolver)),
            pauses: Cell::new(0),
            queued: Cell::new(false),
            stopped: Cell::new(false),
        });
        self.queue(task.clone());
        let cancelled = Rc::downgrade(&task);
        let done = done.with_canceller(move || {
            if let Some(task) = cancelled.upgrade() {
                task.stopped.set(true);
            }
        });
        CooperativeTask { cooperator: self.clone(), task, done }
    }

    /// Adds a task and fires when it has ended (`task.coiterate`).
    pub fn coiterate<I>(&self, steps: I) -> Deferred<()>
    where
        I: IntoIterator<Item: Reply<Value = ()>>,
        I::IntoIter: 'static,
    {
        self.cooperate(steps).when_done()
    }

    fn queue(&self, task: Rc<Cooperative>) {
        if !task.queued.replace(true) {
            self.0.tasks.borrow_mut().push_back(task);
            self.schedule();
        }
    }

    fn schedule(&self) {
        if !self.0.scheduled.replace(true) {
            let cooperator = self.clone();
            self.0.clock.call_later(Duration::ZERO, move || cooperator.tick());
        }
    }

    /// One turn: the tasks take a step each, round after round, until their time is over.
    fn tick(&self) {
        self.0.scheduled.set(false);
        let begun = self.0.clock.now();
        loop {
            let task = self.0.tasks.borrow_mut().pop_front();
            let Some(task) = task else { return };
            task.queued.set(false);
            self.step(task);
            if self.0.clock.now() - begun >= self.0.slice {
                break;
            }
        }
        if !self.0.tasks.borrow().is_empty() {
            self.schedule();
        }
    }

    fn step(&self, task: Rc<Cooperative>) {
        if task.pauses.get() > 0 {
            return; // `resume` queues it again
        }
        let Some(mut steps) = task.steps.take() else { return };
        if task.stopped.get() {
            return;
        }
        // A panic of `next` itself is this task's error too.
        let step = catch_unwind(AssertUnwindSafe(|| steps.next()));
        let step = match step {
            Ok(Some(step)) => step,
            Ok(None) => return task.end(Ok(())),
            Err(panic) => return task.end(Err(Failure::panicked(panic))),
        };
        task.steps.set(Some(steps));
        task.pauses.set(task.pauses.get() + 1);
        let cooperator = self.clone();
        let rest = step.add_both(move |result| match result {
            Ok(()) => cooperator.resume(task),
            Err(failure) => {
                drop(task.steps.take());
                task.end(Err(failure));
            }
        });
        drop(rest); // what it comes to is told by `done`
    }

    fn resume(&self, task: Rc<Cooperative>) {
        task.pauses.set(task.pauses.get().saturating_sub(1));
        if task.pauses.get() == 0 {
            self.queue(task);
        }
    }
}

impl Cooperative {
    fn end(&self, result: Result<(), Failure>) {
        if let Some(done) = self.done.take() {
            done.fire(result);
        }
    }
}

/// A task of a [`Cooperator`] (`task.CooperativeTask`).
pub struct CooperativeTask {
    cooperator: Cooperator,
    task: Rc<Cooperative>,
    done: Deferred<()>,
}

impl CooperativeTask {
    /// Takes no steps until it is resumed as often as it was paused.
    pub fn pause(&self) {
        self.task.pauses.set(self.task.pauses.get() + 1);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.cooperator.resume(self.task.clone());
    }

    /// Takes no step any more; `when_done` fires a `CancelledError`.
    pub fn stop(&self) {
        self.done.cancel();
    }

    /// Fires when it has ended.
    pub fn when_done(self) -> Deferred<()> {
        self.done
    }
}

/// The aside that shows all of this.
pub mod tour;

#[cfg(test)]
mod tests;
