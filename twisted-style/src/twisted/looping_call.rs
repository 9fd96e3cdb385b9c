//! A function that is called again and again: `twisted.internet.task.LoopingCall`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::clock::{Clock, DelayedCall};
use super::defer::{Deferred, Reply, Resolver, maybe_deferred};
use super::failure::Failure;

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
