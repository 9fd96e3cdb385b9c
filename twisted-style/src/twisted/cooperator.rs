//! Tasks that compute in small steps: `twisted.internet.task.Cooperator`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::clock::Clock;
use super::defer::{Deferred, Reply, Resolver, maybe_deferred};
use super::failure::Failure;

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
