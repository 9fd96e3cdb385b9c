//! A function that is called again and again: `twisted.internet.task.LoopingCall`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::clock::{DelayedCall, ReactorTime};
use super::defer::{Deferred, Reply, Resolver, maybe_deferred};
use super::failure::Failure;

/// Calls a function again and again (`task.LoopingCall`). A clone is another handle on the same
/// loop.
#[derive(Clone)]
pub struct LoopingCall(Rc<Looping>);

struct Looping {
    clock: ReactorTime,
    /// Borrowed while it is called.
    function: RefCell<Looped>,
    /// From `start` to `stop`.
    run: RefCell<Option<Rc<Run>>>,
}

type Looped = Box<dyn FnMut(&LoopingCall) -> Deferred<()>>;

/// From a start to the end of its last call, which may be after the next start.
struct Run {
    interval: Duration,
    started: Instant,
    /// The next call; `None` while the function is called and until its Deferred has fired.
    next: RefCell<Option<DelayedCall>>,
    done: Cell<Option<Resolver<()>>>,
}

impl LoopingCall {
    /// A loop that has not been started. If `function` returns a Deferred, the next call waits
    /// for it; if it fails, the loop ends. It gets the loop as an argument, so that it can
    /// stop it without a reference cycle.
    pub fn new<R: Reply<Value = ()>>(
        clock: &impl AsRef<ReactorTime>,
        mut function: impl FnMut(&LoopingCall) -> R + 'static,
    ) -> LoopingCall {
        let function = move |looping: &LoopingCall| maybe_deferred(|| function(looping));
        LoopingCall(Rc::new(Looping {
            clock: clock.as_ref().clone(),
            function: RefCell::new(Box::new(function)),
            run: RefCell::new(None),
        }))
    }

    /// Calls it now and then every `interval`. A call that takes longer skips calls and keeps the
    /// beat: the next one is at a multiple of `interval` from the start. The Deferred fires when
    /// the loop is stopped and its last call has ended, with an error if the function fails.
    /// Cancelling it stops the loop. A loop that was stopped may be started again.
    ///
    /// # Panics
    /// The loop is running.
    pub fn start(&self, interval: Duration) -> Deferred<()> {
        assert!(!self.running(), "the loop is running");
        let (resolver, done) = Deferred::new();
        let run = Rc::new(Run {
            interval,
            started: self.0.clock.now(),
            next: RefCell::new(None),
            done: Cell::new(Some(resolver)),
        });
        self.0.run.replace(Some(run.clone()));
        self.call(&run);
        let (looping, run) = (Rc::downgrade(&self.0), Rc::downgrade(&run));
        done.with_canceller(move || {
            if let (Some(looping), Some(run)) = (looping.upgrade().map(LoopingCall), run.upgrade())
                && looping.is(&run)
            {
                looping.stop();
            }
        })
    }

    /// Ends the loop: after the call under way, if there is one.
    pub fn stop(&self) {
        let run = self.0.run.take();
        if let Some(run) = run
            && let Some(next) = run.next.take()
        {
            next.cancel();
            run.end(Ok(()));
        }
    }

    /// Whether it has been started and not stopped.
    pub fn running(&self) -> bool {
        self.0.run.borrow().is_some()
    }

    /// Whether this is the current run.
    fn is(&self, run: &Rc<Run>) -> bool {
        self.0.run.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, run))
    }

    fn call(&self, run: &Rc<Run>) {
        drop(run.next.take());
        let called = match self.0.function.try_borrow_mut() {
            Ok(mut function) => function(self),
            // Stopped and started again inside its own call: it goes on after that call.
            Err(_) => return self.call_later(run, Duration::ZERO),
        };
        let (looping, run) = (self.clone(), run.clone());
        let rest = called.add_both(move |result| match result {
            Ok(()) if looping.is(&run) => looping.schedule(&run),
            result => {
                if looping.is(&run) {
                    looping.0.run.take();
                }
                run.end(result);
            }
        });
        drop(rest); // `done` gives the result
    }

    fn schedule(&self, run: &Rc<Run>) {
        let elapsed = self.0.clock.now() - run.started;
        // The time until the next beat.
        let gone = elapsed.as_nanos().checked_rem(run.interval.as_nanos()).unwrap_or(0);
        self.call_later(run, run.interval.saturating_sub(Duration::from_nanos(gone as u64)));
    }

    fn call_later(&self, run: &Rc<Run>, delay: Duration) {
        let (looping, next) = (self.clone(), run.clone());
        let next = self.0.clock.call_later(delay, move || looping.call(&next));
        run.next.replace(Some(next));
    }
}

impl Run {
    fn end(&self, result: Result<(), Failure>) {
        if let Some(done) = self.done.take() {
            done.fire(result);
        }
    }
}
