//! Tasks that compute in small steps: `twisted.internet.task.Cooperator`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::iter;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::clock::ReactorTime;
use super::defer::{Deferred, Reply, Resolver, maybe_deferred};
use super::failure::{CancelledError, Failure};

/// Shares the reactor's thread between tasks that compute in small steps (`task.Cooperator`). Each
/// task is an iterator, a step is one `next`, and between two rounds of steps the reactor has its
/// turn. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Cooperator(Rc<Cooperating>);

struct Cooperating {
    clock: ReactorTime,
    /// How long the tasks may run before the reactor has its turn.
    slice: Duration,
    tasks: RefCell<VecDeque<Rc<Cooperative>>>,
    scheduled: Cell<bool>,
}

/// A task. It does not own its cooperator, because the queue of the cooperator may own it.
struct Cooperative {
    /// Borrowed while it takes a step.
    steps: RefCell<Steps>,
    waiting: RefCell<Vec<Resolver<()>>>,
    /// Its result.
    result: RefCell<Option<Result<(), Failure>>>,
    pauses: Cell<usize>,
    queued: Cell<bool>,
}

type Steps = Box<dyn Iterator<Item = Deferred<()>>>;

impl Cooperator {
    /// Twisted gives the tasks 10 ms at a time; here it is 1 ms, so that a heartbeat is not late.
    pub fn new(clock: &impl AsRef<ReactorTime>) -> Cooperator {
        Cooperator::with_slice(clock, Duration::from_millis(1))
    }

    /// With another time; `ZERO` is one step at a time.
    pub fn with_slice(clock: &impl AsRef<ReactorTime>, slice: Duration) -> Cooperator {
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
        let task = Rc::new(Cooperative {
            steps: RefCell::new(Box::new(steps)),
            waiting: RefCell::default(),
            result: RefCell::new(None),
            pauses: Cell::new(0),
            queued: Cell::new(false),
        });
        self.queue(task.clone());
        CooperativeTask { cooperator: self.clone(), task }
    }

    /// Adds a task and fires when it has ended (`task.coiterate`). Cancelling it stops the task.
    pub fn coiterate<I>(&self, steps: I) -> Deferred<()>
    where
        I: IntoIterator<Item: Reply<Value = ()>>,
        I::IntoIter: 'static,
    {
        let task = self.cooperate(steps);
        let stopped = Rc::downgrade(&task.task);
        task.when_done().with_canceller(move || {
            if let Some(task) = stopped.upgrade() {
                task.end(Err(CancelledError.into()));
            }
        })
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
        let Ok(mut steps) = task.steps.try_borrow_mut() else { return };
        if task.result.borrow().is_some() {
            return;
        }
        // A panic of `next` itself is this task's error too.
        let step = catch_unwind(AssertUnwindSafe(|| steps.next()));
        drop(steps);
        let step = match step {
            Ok(Some(step)) => step,
            Ok(None) => return task.end(Ok(())),
            Err(panic) => return task.end(Err(Failure::panicked(panic))),
        };
        task.pauses.set(task.pauses.get() + 1);
        let cooperator = self.clone();
        let rest = step.add_both(move |result| match result {
            Ok(()) => cooperator.resume(task),
            Err(failure) => task.end(Err(failure)),
        });
        drop(rest); // `when_done` gives the result
    }

    fn resume(&self, task: Rc<Cooperative>) {
        task.pauses.set(task.pauses.get().saturating_sub(1));
        if task.pauses.get() == 0 {
            self.queue(task);
        }
    }
}

impl Cooperative {
    /// Only the first result counts.
    fn end(&self, result: Result<(), Failure>) {
        if self.result.borrow().is_some() {
            return;
        }
        self.result.replace(Some(result.clone()));
        if let Ok(mut steps) = self.steps.try_borrow_mut() {
            let unused = mem::replace(&mut *steps, Box::new(iter::empty()));
            drop(steps);
            drop(unused);
        }
        for resolver in self.waiting.take() {
            resolver.fire(result.clone());
        }
    }
}

/// A task of a [`Cooperator`] (`task.CooperativeTask`).
pub struct CooperativeTask {
    cooperator: Cooperator,
    task: Rc<Cooperative>,
}

impl CooperativeTask {
    /// Takes no steps until it is resumed as often as it was paused.
    pub fn pause(&self) {
        self.task.pauses.set(self.task.pauses.get() + 1);
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.cooperator.resume(self.task.clone());
    }

    /// Stops it: it takes no more steps, and `when_done` fires a [`CancelledError`].
    pub fn stop(&self) {
        self.task.end(Err(CancelledError.into()));
    }

    /// Fires when it has ended. It can be called any number of times; cancelling the Deferred does
    /// not stop the task.
    pub fn when_done(&self) -> Deferred<()> {
        let (resolver, done) = Deferred::new();
        match &*self.task.result.borrow() {
            Some(result) => resolver.fire(result.clone()),
            None => self.task.waiting.borrow_mut().push(resolver),
        }
        done
    }
}
