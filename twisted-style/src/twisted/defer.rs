//! A [`Deferred`] is a result that is not there yet, and the callbacks that will get it: Twisted's
//! `twisted.internet.defer`.
//!
//! Python's single object is two types here, because it has two users. The producer has the
//! [`Resolver`] and fires it once (by value: firing twice does not compile). The consumer has the
//! `Deferred<T>` and adds callbacks. The type of each callback says what the next one gets.
//!
//! One rule differs from Twisted's. If a callback fires another Deferred, the callbacks of that one
//! do not run inside this call. They run as soon as it has returned, before anything that was ready
//! earlier. The order is Twisted's, and the stack does not grow with the chain: in Twisted a ring
//! of 130 `DeferredQueue`s ends in a `RecursionError`, here a ring of 100 000 works.
//! [`Deferred::cancel`] first runs the callbacks of its chain whose result is already there: a
//! result that came before the cancellation is not lost.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::chain::{Origin, cancel, run_now, run_soon};
use super::clock::ReactorTime;
use super::failure::{AbandonedError, CancelledError, Failure, TimeoutError, report_unhandled};

type Callback<T> = Box<dyn FnOnce(Result<T, Failure>)>;

/// A result that is not there yet: the consumer's end. Dropping it does not cancel anything: the
/// result is dropped when it comes, and an error is reported.
#[must_use = "a Deferred that is dropped hides its result"]
pub struct Deferred<T: 'static>(pub(super) Rc<Core<T>>);

/// The producer's end of a [`Deferred`]: fires it once. If it is dropped first, the Deferred fails
/// with an [`AbandonedError`], so that no callback waits forever.
pub struct Resolver<T: 'static>(pub(super) Rc<Core<T>>);

/// What both ends share: 56 bytes for a small `T`. Two `RefCell`s would add 16 bytes to each
/// Deferred, and there are as many as tasks.
pub(super) struct Core<T: 'static> {
    state: Cell<State<T>>,
    /// Where the result comes from, for [`Deferred::cancel`]; `None` when the result is there.
    /// Until then this is a reference cycle; every Core fires in the end (see [`Resolver`]).
    pub(super) origin: Cell<Option<Rc<dyn Origin>>>,
}

#[derive(Default)]
enum State<T> {
    Pending,
    /// The result goes to a callback.
    Waiting(Callback<T>),
    /// The result is kept, and the block that awaits it is resumed.
    Awaited(Box<dyn FnOnce()>),
    Fired(Result<T, Failure>),
    /// A callback that has its result and is about to run.
    Ready(Box<dyn FnOnce()>),
    #[default]
    Spent,
}

/// Looks at the value in `cell`.
fn look<V: Default, R>(cell: &Cell<V>, with: impl FnOnce(&V) -> R) -> R {
    let value = cell.take();
    let result = with(&value);
    cell.set(value);
    result
}

impl<T> Core<T> {
    fn fire(self: &Rc<Self>, result: Result<T, Failure>) {
        if !self.is_pending() {
            return; // cancelled before: a late result is not an error
        }
        let origin = self.origin.take();
        match self.state.replace(State::Spent) {
            State::Waiting(callback) => self.get_ready(callback, result),
            before => {
                self.state.set(State::Fired(result));
                if let State::Awaited(resume) = before {
                    resume();
                }
            }
        }
        drop(origin);
    }

    pub(super) fn is_pending(&self) -> bool {
        look(&self.state, |state| {
            matches!(state, State::Pending | State::Waiting(_) | State::Awaited(_))
        })
    }

    fn origin(&self) -> Option<Rc<dyn Origin>> {
        look(&self.origin, Clone::clone)
    }

    /// Passes the result to `callback`: now, or when it comes.
    pub(super) fn when_fired(self: &Rc<Self>, callback: Callback<T>) {
        match self.state.replace(State::Spent) {
            State::Fired(result) => self.get_ready(callback, result),
            State::Pending | State::Waiting(_) | State::Awaited(_) => {
                self.state.set(State::Waiting(callback));
            }
            State::Ready(_) | State::Spent => {}
        }
    }

    fn get_ready(self: &Rc<Self>, callback: Callback<T>, result: Result<T, Failure>) {
        self.state.set(State::Ready(Box::new(move || callback(result))));
        run_soon(self.clone());
    }

    /// The result, if it is there. Otherwise `resume` is called when it comes.
    ///
    /// # Panics
    /// The result has been taken already.
    pub(super) fn take(&self, resume: impl FnOnce() + 'static) -> Option<Result<T, Failure>> {
        match self.state.replace(State::Spent) {
            State::Fired(result) => Some(result),
            State::Pending | State::Waiting(_) | State::Awaited(_) => {
                self.state.set(State::Awaited(Box::new(resume)));
                None
            }
            State::Ready(_) | State::Spent => panic!("this Deferred has no result any more"),
        }
    }
}

impl<T> Origin for Core<T> {
    fn upstream(&self) -> Option<Rc<dyn Origin>> {
        self.origin().filter(|origin| origin.pending() || origin.ready())
    }

    fn ready(&self) -> bool {
        look(&self.state, |state| matches!(state, State::Ready(_)))
    }

    fn run(self: Rc<Self>) {
        if self.ready()
            && let State::Ready(callback) = self.state.replace(State::Spent)
        {
            callback();
        }
    }

    fn cancel(self: Rc<Self>) {
        if let Some(origin) = self.origin() {
            origin.cancel();
        }
        self.fire(Err(CancelledError.into()));
    }

    fn pending(&self) -> bool {
        self.is_pending()
    }
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        if let State::Fired(Err(failure)) = self.state.get_mut()
            && failure.check::<AbandonedError>().is_none()
        {
            report_unhandled(failure);
        }
    }
}

struct Canceller(RefCell<Option<Box<dyn FnOnce()>>>);

impl Origin for Canceller {
    fn cancel(self: Rc<Self>) {
        run_now(self); // and what it makes ready: it may fire the Deferred through another one
    }

    fn run(self: Rc<Self>) {
        let canceller = self.0.take();
        if let Some(canceller) = canceller {
            canceller();
        }
    }

    fn cancelled(&self) -> bool {
        self.0.borrow().is_none()
    }
}

impl<T> Resolver<T> {
    /// Fires the Deferred with a value: its callbacks run.
    pub fn callback(self, value: T) {
        self.0.fire(Ok(value));
    }

    /// Fires the Deferred with an error: its errbacks run.
    pub fn errback(self, failure: impl Into<Failure>) {
        self.0.fire(Err(failure.into()));
    }

    /// Fires the Deferred with either.
    pub fn fire(self, result: Result<T, Failure>) {
        self.0.fire(result);
    }
}

impl<T> Drop for Resolver<T> {
    fn drop(&mut self) {
        if self.0.is_pending() {
            // A canceller that drops the Resolver has cancelled the Deferred.
            let cancelled = self.0.origin().is_some_and(|origin| origin.cancelled());
            let failure = if cancelled { CancelledError.into() } else { AbandonedError.into() };
            self.0.fire(Err(failure));
        }
    }
}

/// What a callback may return: a value or an error for the next one in the chain (`Ok`, `Err`),
/// nothing (`()`), or a Deferred. Then the chain waits for its result.
pub trait Reply {
    /// What the next callback gets.
    type Value: 'static;

    /// Passes it on.
    fn settle(self, next: Resolver<Self::Value>);
}

impl<T: 'static> Reply for Result<T, Failure> {
    type Value = T;

    fn settle(self, next: Resolver<T>) {
        next.fire(self);
    }
}

impl<T: 'static> Reply for Deferred<T> {
    type Value = T;

    fn settle(self, next: Resolver<T>) {
        next.0.origin.set(Some(self.0.clone()));
        self.0.when_fired(Box::new(move |result| next.fire(result)));
    }
}

impl Reply for () {
    type Value = ();

    fn settle(self, next: Resolver<()>) {
        next.callback(());
    }
}

impl<T: 'static> Deferred<T> {
    /// A Deferred, and the Resolver that fires it.
    pub fn new() -> (Resolver<T>, Deferred<T>) {
        let core = Rc::new(Core { state: Cell::new(State::Pending), origin: Cell::new(None) });
        (Resolver(core.clone()), Deferred(core))
    }

    /// Sets how to cancel what this Deferred waits for. It is called at most once, by
    /// [`cancel`](Deferred::cancel), and only if there is no result yet. It may fire the Deferred
    /// itself; if it does not, the result is a [`CancelledError`].
    pub fn with_canceller(self, canceller: impl FnOnce() + 'static) -> Deferred<T> {
        if self.0.is_pending() {
            let canceller = Canceller(RefCell::new(Some(Box::new(canceller))));
            self.0.origin.set(Some(Rc::new(canceller)));
        }
        self
    }

    /// Cancels what this chain waits for. Calls the canceller of the first Deferred or, if a
    /// callback has returned a Deferred, of that one. Does nothing if the result is there.
    pub fn cancel(&self) {
        cancel(&self.as_origin());
    }

    /// Adds a callback: it gets the value. An error skips it.
    pub fn add_callback<R: Reply>(
        self,
        callback: impl FnOnce(T) -> R + 'static,
    ) -> Deferred<R::Value> {
        self.chain(|result, next| match result {
            Ok(value) => settle(next, || callback(value)),
            Err(failure) => next.errback(failure),
        })
    }

    /// Adds an errback: it gets the error. A value skips it. What the errback returns is the result
    /// from there on, so `Ok` ends the error.
    pub fn add_errback<R: Reply<Value = T>>(
        self,
        errback: impl FnOnce(Failure) -> R + 'static,
    ) -> Deferred<T> {
        self.chain(|result, next| match result {
            Ok(value) => next.callback(value),
            Err(failure) => settle(next, || errback(failure)),
        })
    }

    /// Adds both, side by side: an error of this callback does not go to this errback.
    pub fn add_callbacks<R: Reply, E: Reply<Value = R::Value>>(
        self,
        callback: impl FnOnce(T) -> R + 'static,
        errback: impl FnOnce(Failure) -> E + 'static,
    ) -> Deferred<R::Value> {
        self.chain(|result, next| match result {
            Ok(value) => settle(next, || callback(value)),
            Err(failure) => settle(next, || errback(failure)),
        })
    }

    /// Adds a callback that gets either the value or the error.
    pub fn add_both<R: Reply>(
        self,
        callback: impl FnOnce(Result<T, Failure>) -> R + 'static,
    ) -> Deferred<R::Value> {
        self.chain(|result, next| settle(next, || callback(result)))
    }

    /// Cancels this Deferred when `after` has passed. The [`CancelledError`] of that becomes a
    /// [`TimeoutError`]; a value that the canceller fires instead is kept.
    pub fn add_timeout(self, after: Duration, clock: &impl AsRef<ReactorTime>) -> Deferred<T> {
        let timed_out = Rc::new(Cell::new(false));
        let on_timeout = {
            let timed_out = timed_out.clone();
            let origin = self.as_origin();
            move || {
                timed_out.set(true);
                cancel(&origin);
            }
        };
        let timer = clock.as_ref().call_later(after, on_timeout);
        self.add_both(move |result| {
            timer.cancel();
            result.map_err(|failure| {
                if timed_out.get() && failure.check::<CancelledError>().is_some() {
                    TimeoutError.into()
                } else {
                    failure
                }
            })
        })
    }

    /// This Deferred as the origin of another one's result.
    pub(super) fn as_origin(&self) -> Rc<dyn Origin> {
        self.0.clone()
    }

    /// The next Deferred of the chain. `step` fires it when this one has a result.
    fn chain<U>(self, step: impl FnOnce(Result<T, Failure>, Resolver<U>) + 'static) -> Deferred<U> {
        let (next, deferred) = Deferred::new();
        deferred.0.origin.set(Some(self.0.clone()));
        self.0.when_fired(Box::new(move |result| step(result, next)));
        deferred
    }
}

/// Calls a callback and passes on what it returns. A panic is an error like any other: it goes to
/// the next errback.
fn settle<R: Reply>(next: Resolver<R::Value>, callback: impl FnOnce() -> R) {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(reply) => reply.settle(next),
        Err(panic) => next.errback(Failure::panicked(panic)),
    }
}

/// Fires when `delay` has passed (`task.deferLater`). Cancelling it cancels the call.
pub fn defer_later(clock: &impl AsRef<ReactorTime>, delay: Duration) -> Deferred<()> {
    let (resolver, later) = Deferred::new();
    let call = clock.as_ref().call_later(delay, move || resolver.callback(()));
    later.with_canceller(move || {
        call.cancel();
    })
}

/// A Deferred that has its value already (`defer.succeed`).
pub fn succeed<T>(value: T) -> Deferred<T> {
    let (resolver, deferred) = Deferred::new();
    resolver.callback(value);
    deferred
}

/// A Deferred that has failed already (`defer.fail`).
pub fn fail<T>(failure: impl Into<Failure>) -> Deferred<T> {
    let (resolver, deferred) = Deferred::new();
    resolver.errback(failure);
    deferred
}

/// Calls `function` and returns a Deferred of its result: a value, an error, a panic, or the result
/// of the Deferred that it returned (`defer.maybeDeferred`).
pub fn maybe_deferred<R: Reply>(function: impl FnOnce() -> R) -> Deferred<R::Value> {
    let (resolver, deferred) = Deferred::new();
    settle(resolver, function);
    deferred
}
