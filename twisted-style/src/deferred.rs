//! A [`Deferred`] is a result that is not there yet, with what is to be done with it when it is:
//! Twisted's `twisted.internet.defer`.
//!
//! Python's one object is two here, as its two users are: the producer has the [`Resolver`] and
//! fires it once (by value: firing twice does not compile), the consumer has the `Deferred<T>` and
//! adds callbacks, each of which says in its type what the next one gets.
//!
//! One rule differs from Twisted's. A callback that fires another Deferred does not run that
//! one's callbacks inside its own call; they run as soon as it has returned, before anything that
//! was waiting already. The order stays Twisted's, and the stack does not grow with the chain: a
//! ring of 130 `DeferredQueue`s ends in a `RecursionError` there, one of 100 000 goes round here.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Clock;

/// An error on its way to whoever handles it (`twisted.python.failure.Failure`). A clone is the
/// same error, so that several Deferreds can tell of it.
#[derive(Clone)]
pub struct Failure(Arc<dyn Error + Send + Sync>);

impl Failure {
    /// The error, if it is an `E` (`Failure.check`).
    pub fn check<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// Handles an `E` only: any other error is handed on (`Failure.trap`).
    pub fn trap<E: Error + 'static>(&self) -> Result<&E, Failure> {
        self.check().ok_or_else(|| self.clone())
    }

    /// What a panic said, as the error of whoever waits for the one that panicked.
    pub fn panicked(panic: Box<dyn Any + Send>) -> Failure {
        let said = match panic.downcast::<String>() {
            Ok(said) => *said,
            Err(panic) => (*panic.downcast::<&str>().unwrap_or(Box::new("no reason"))).to_string(),
        };
        Panicked(said).into()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(Arc::new(error))
    }
}

impl From<Failure> for io::Error {
    /// The kind is kept: of an `io::Error` its own, of a [`TimeoutError`] `TimedOut`, of a
    /// [`CancelledError`] `ConnectionAborted`.
    fn from(failure: Failure) -> io::Error {
        if let Some(error) = failure.check::<io::Error>() {
            return match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
        }
        let kind = if failure.check::<TimeoutError>().is_some() {
            io::ErrorKind::TimedOut
        } else if failure.check::<CancelledError>().is_some() {
            io::ErrorKind::ConnectionAborted
        } else {
            io::ErrorKind::Other
        };
        io::Error::new(kind, failure.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident says $words:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($words)
            }
        }

        impl Error for $name {}
    )*};
}

errors! {
    /// The result of a Deferred that was cancelled.
    CancelledError says "cancelled";
    /// The result of a Deferred that took longer than [`Deferred::add_timeout`] allows.
    TimeoutError says "timed out";
    /// The result of a Deferred whose [`Resolver`] was dropped: nobody is left to fire it.
    AbandonedError says "nobody is left to fire this Deferred";
    /// [`DeferredQueue::put`] on a queue that holds as many values as it may.
    QueueOverflow says "the queue is full";
    /// [`DeferredQueue::get`] on a queue that as many are waiting for as may.
    QueueUnderflow says "too many are waiting for this queue";
}

/// The result of a [`race`] that nobody has won: why not, in the order given.
#[derive(Clone, Debug)]
pub struct FailureGroup(pub Vec<Failure>);

impl fmt::Display for FailureGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures: Vec<String> = self.0.iter().map(Failure::to_string).collect();
        write!(f, "all failed: {}", failures.join("; "))
    }
}

impl Error for FailureGroup {}

#[derive(Debug)]
struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0)
    }
}

impl Error for Panicked {}

type Observer = Rc<dyn Fn(&Failure)>;
type Callback<T> = Box<dyn FnOnce(Result<T, Failure>)>;

/// A result that is not there yet: the consumer's end. Dropping it calls nothing off; the result
/// is then dropped when it comes, and an error among such results is reported.
#[must_use = "a Deferred that nobody looks at hides its result"]
pub struct Deferred<T: 'static>(Rc<Core<T>>);

/// The producer's end of a [`Deferred`]: fires it, once. Dropped without that, it fires an
/// [`AbandonedError`], so that nobody waits for ever.
pub struct Resolver<T: 'static>(Rc<Core<T>>);

/// What both ends share: 56 bytes for a small `T`. Cells, not a `RefCell`: nothing is ever
/// borrowed while a callback runs.
struct Core<T: 'static> {
    state: Cell<State<T>>,
    /// Where the result is to come from, for [`Deferred::cancel`]; nothing once it is there.
    /// It closes a cycle until then, and every Core fires at last (see [`Resolver`]).
    origin: Cell<Option<Rc<dyn Origin>>>,
}

enum State<T> {
    Pending,
    Waiting(Callback<T>),
    Fired(Result<T, Failure>),
    Spent,
}

/// What a Deferred's result comes from: the Deferred before it in its chain, or a canceller.
trait Origin {
    fn pending(&self) -> bool;
    fn upstream(&self) -> Option<Rc<dyn Origin>>;
    fn call_off(&self);

    /// Whether it is a canceller that has been called.
    fn called_off(&self) -> bool {
        false
    }
}

impl<T> Core<T> {
    fn fire(&self, result: Result<T, Failure>) {
        match self.state.replace(State::Spent) {
            State::Pending => {
                self.state.set(State::Fired(result));
                drop(self.origin.take());
            }
            State::Waiting(callback) => {
                drop(self.origin.take());
                run_soon(Box::new(move || callback(result)));
            }
            // Cancelled before it was fired: what comes now comes too late, and that is no error.
            settled => self.state.set(settled),
        }
    }

    fn is_pending(&self) -> bool {
        let state = self.state.replace(State::Spent);
        let pending = matches!(state, State::Pending | State::Waiting(_));
        self.state.set(state);
        pending
    }

    fn origin(&self) -> Option<Rc<dyn Origin>> {
        let origin = self.origin.take();
        self.origin.set(origin.clone());
        origin
    }

    /// Hands the result to `callback`: now, or when it comes.
    fn when_fired(&self, callback: Callback<T>) {
        match self.state.replace(State::Spent) {
            State::Fired(result) => run_soon(Box::new(move || callback(result))),
            State::Pending | State::Waiting(_) => self.state.set(State::Waiting(callback)),
            State::Spent => {}
        }
    }
}

impl<T> Origin for Core<T> {
    fn pending(&self) -> bool {
        self.is_pending()
    }

    fn upstream(&self) -> Option<Rc<dyn Origin>> {
        self.origin().filter(|origin| origin.pending())
    }

    fn call_off(&self) {
        if let Some(origin) = self.origin() {
            origin.call_off();
        }
        self.fire(Err(CancelledError.into()));
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

struct Canceller(Cell<Option<Box<dyn FnOnce()>>>);

impl Origin for Canceller {
    fn pending(&self) -> bool {
        false // not a Deferred: the walk up the chain ends before it
    }

    fn upstream(&self) -> Option<Rc<dyn Origin>> {
        None
    }

    fn call_off(&self) {
        if let Some(canceller) = self.0.take() {
            canceller();
        }
    }

    fn called_off(&self) -> bool {
        let canceller = self.0.take();
        let called = canceller.is_none();
        self.0.set(canceller);
        called
    }
}

fn cancel(mut at: Rc<dyn Origin>) {
    while let Some(upstream) = at.upstream() {
        at = upstream;
    }
    at.call_off();
}

fn cancel_if_pending<T>(core: &Rc<Core<T>>) {
    if core.is_pending() {
        cancel(core.clone());
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
            // A canceller that drops what would have fired the Deferred has cancelled it.
            let cancelled = self.0.origin().is_some_and(|origin| origin.called_off());
            let failure = if cancelled { CancelledError.into() } else { AbandonedError.into() };
            self.0.fire(Err(failure));
        }
    }
}

/// What a callback may return: a value or an error for the next one in the chain (`Ok`, `Err`),
/// nothing (`()`), or a Deferred, whose result the chain then waits for.
pub trait Reply {
    /// What the next callback gets.
    type Value: 'static;

    /// Hands it on.
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
    /// A result to come, and what fires it.
    pub fn new() -> (Resolver<T>, Deferred<T>) {
        let core = Rc::new(Core { state: Cell::new(State::Pending), origin: Cell::new(None) });
        (Resolver(core.clone()), Deferred(core))
    }

    /// Says how to call off what this Deferred waits for. Called at most once, by
    /// [`cancel`](Deferred::cancel), and not when the result is there. It may fire the Deferred
    /// itself; if it does not, the result is a [`CancelledError`].
    pub fn with_canceller(self, canceller: impl FnOnce() + 'static) -> Deferred<T> {
        if self.0.is_pending() {
            let canceller = Canceller(Cell::new(Some(Box::new(canceller))));
            self.0.origin.set(Some(Rc::new(canceller)));
        }
        self
    }

    /// Calls off what this chain waits for: the canceller of the Deferred it began with or, if a
    /// callback has returned a Deferred, of that one. Does nothing if the result is there.
    pub fn cancel(&self) {
        cancel_if_pending(&self.0);
    }

    /// Adds what is to be done with a value. An error passes by.
    pub fn add_callback<R: Reply>(
        self,
        callback: impl FnOnce(T) -> R + 'static,
    ) -> Deferred<R::Value> {
        self.chain(|result, next| match result {
            Ok(value) => settle(next, || callback(value)),
            Err(failure) => next.errback(failure),
        })
    }

    /// Adds what is to be done with an error. A value passes by; what the errback returns is the
    /// result from there on, so that `Ok` ends the error.
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

    /// Adds what is to be done in either case.
    pub fn add_both<R: Reply>(
        self,
        callback: impl FnOnce(Result<T, Failure>) -> R + 'static,
    ) -> Deferred<R::Value> {
        self.chain(|result, next| settle(next, || callback(result)))
    }

    /// Cancels this Deferred when `after` has passed. The [`CancelledError`] of that becomes a
    /// [`TimeoutError`]; a value that the canceller fires instead is let through.
    pub fn add_timeout(self, after: Duration, clock: &impl AsRef<Clock>) -> Deferred<T> {
        let timed_out = Rc::new(Cell::new(false));
        let on_timeout = {
            let timed_out = timed_out.clone();
            let core = self.0.clone();
            move || {
                timed_out.set(true);
                cancel(core);
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

    /// One more Deferred, fired by `step` with what this one's result makes of it.
    fn chain<U>(self, step: impl FnOnce(Result<T, Failure>, Resolver<U>) + 'static) -> Deferred<U> {
        let (next, deferred) = Deferred::new();
        deferred.0.origin.set(Some(self.0.clone()));
        self.0.when_fired(Box::new(move |result| step(result, next)));
        deferred
    }
}

/// Calls a callback and hands on what it returns. A panic is an error like any other: it goes to
/// the next errback.
fn settle<R: Reply>(next: Resolver<R::Value>, callback: impl FnOnce() -> R) {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(reply) => reply.settle(next),
        Err(panic) => next.errback(Failure::panicked(panic)),
    }
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

/// Calls `function` and gives a Deferred of whatever comes of it: a value, an error, a panic or
/// what the Deferred that it returned comes to (`defer.maybeDeferred`).
pub fn maybe_deferred<R: Reply>(function: impl FnOnce() -> R) -> Deferred<R::Value> {
    let (resolver, deferred) = Deferred::new();
    settle(resolver, function);
    deferred
}

/// Waits for all: what each came to, in the order given (`defer.DeferredList`). Errors are taken
/// as handled, as with `consumeErrors=True`; cancelling it cancels them all.
pub fn deferred_list<T>(deferreds: Vec<Deferred<T>>) -> Deferred<Vec<Result<T, Failure>>> {
    let results = deferreds.iter().map(|_| None).collect();
    collect(deferreds, results, |collected, index, result| {
        collected.put(index, result);
    })
}

/// Waits for all: their values in the order given, or the first error that comes. Errors that
/// come after it are taken as handled (`gatherResults(…, consumeErrors=True)`). Cancelling it
/// cancels them all.
pub fn gather_results<T>(deferreds: Vec<Deferred<T>>) -> Deferred<Vec<T>> {
    let values = deferreds.iter().map(|_| None).collect();
    collect(deferreds, values, |collected, index, result| match result {
        Ok(value) => collected.put(index, value),
        Err(failure) => collected.fire(Err(failure)),
    })
}

/// The first value that comes, with the index of the Deferred that it came from; the others are
/// cancelled. If all fail, a [`FailureGroup`] (`defer.race`).
pub fn race<T>(deferreds: Vec<Deferred<T>>) -> Deferred<(usize, T)> {
    let (done, winner) = Deferred::new();
    let done = Rc::new(Cell::new(Some(done)));
    let runners: Rc<[_]> = deferreds.iter().map(|runner| runner.0.clone()).collect();
    let mut failures = Vec::new();
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let (done, runners) = (done.clone(), runners.clone());
        failures.push(deferred.add_both(move |result| {
            let value = match result {
                Ok(value) => value,
                Err(failure) => return Ok(failure), // what the race is to collect
            };
            if let Some(done) = done.take() {
                done.callback((index, value));
                runners.iter().for_each(cancel_if_pending);
            }
            Err(CancelledError.into()) // not all have failed
        }));
    }
    let all_failed = gather_results(failures).add_both(move |failures| {
        if let (Ok(failures), Some(done)) = (failures, done.take()) {
            done.errback(FailureGroup(failures));
        }
    });
    winner.with_canceller(move || all_failed.cancel())
}

/// What has come so far of several Deferreds, for one that waits for all of them.
struct Collected<V: 'static> {
    values: RefCell<Vec<Option<V>>>,
    missing: Cell<usize>,
    done: Cell<Option<Resolver<Vec<V>>>>,
}

impl<V> Collected<V> {
    fn put(&self, index: usize, value: V) {
        self.values.borrow_mut()[index] = Some(value);
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            let values = self.values.take().into_iter().flatten().collect();
            self.fire(Ok(values));
        }
    }

    fn fire(&self, result: Result<Vec<V>, Failure>) {
        if let Some(done) = self.done.take() {
            done.fire(result);
        }
    }
}

fn collect<T, V>(
    deferreds: Vec<Deferred<T>>,
    places: Vec<Option<V>>,
    came: impl Fn(&Collected<V>, usize, Result<T, Failure>) + 'static,
) -> Deferred<Vec<V>> {
    let (done, all) = Deferred::new();
    if deferreds.is_empty() {
        done.callback(Vec::new());
        return all;
    }
    let shared = Rc::new((
        Collected {
            values: RefCell::new(places),
            missing: Cell::new(deferreds.len()),
            done: Cell::new(Some(done)),
        },
        came,
    ));
    for (index, deferred) in deferreds.iter().enumerate() {
        let shared = shared.clone();
        let came = move |result| (shared.1)(&shared.0, index, result);
        deferred.0.when_fired(Box::new(came));
    }
    all.with_canceller(move || deferreds.iter().for_each(Deferred::cancel))
}

/// So many at once (`defer.DeferredSemaphore`). A clone is another handle on the same one.
#[derive(Clone)]
pub struct DeferredSemaphore(Rc<Semaphore>);

struct Semaphore {
    limit: usize,
    tokens: Cell<usize>,
    waiting: RefCell<VecDeque<Resolver<()>>>,
}

impl DeferredSemaphore {
    /// `tokens` may have it at once.
    pub fn new(tokens: usize) -> DeferredSemaphore {
        DeferredSemaphore(Rc::new(Semaphore {
            limit: tokens,
            tokens: Cell::new(tokens),
            waiting: RefCell::default(),
        }))
    }

    /// Fires when a token is there: first come, first served. Whoever has it must
    /// [`release`](DeferredSemaphore::release) it; [`run`](DeferredSemaphore::run) does.
    /// Cancelling it leaves the queue.
    pub fn acquire(&self) -> Deferred<()> {
        let tokens = self.0.tokens.get();
        if tokens > 0 {
            self.0.tokens.set(tokens - 1);
            return succeed(());
        }
        let (resolver, deferred) = Deferred::new();
        self.0.waiting.borrow_mut().push_back(resolver);
        deferred
    }

    /// Gives a token back, to the first in the queue.
    pub fn release(&self) {
        if let Some(resolver) = next_waiting(&self.0.waiting) {
            return resolver.callback(());
        }
        let tokens = self.0.tokens.get() + 1;
        assert!(tokens <= self.0.limit, "released more often than acquired");
        self.0.tokens.set(tokens);
    }

    /// Acquires, calls `function`, and releases when that has come to its end, a Deferred that it
    /// returned included, and whatever that end is.
    pub fn run<R: Reply>(&self, function: impl FnOnce() -> R + 'static) -> Deferred<R::Value> {
        let semaphore = self.clone();
        self.acquire().add_callback(move |()| {
            maybe_deferred(function).add_both(move |result| {
                semaphore.release();
                result
            })
        })
    }
}

/// One at a time (`defer.DeferredLock`). A clone is another handle on the same lock.
#[derive(Clone)]
pub struct DeferredLock(DeferredSemaphore);

impl DeferredLock {
    /// A lock that nobody has.
    #[allow(clippy::new_without_default)] // as its neighbors are made
    pub fn new() -> DeferredLock {
        DeferredLock(DeferredSemaphore::new(1))
    }

    /// Fires when the lock is yours, until you [`release`](DeferredLock::release) it.
    pub fn acquire(&self) -> Deferred<()> {
        self.0.acquire()
    }

    /// Hands the lock to the next one.
    pub fn release(&self) {
        self.0.release();
    }

    /// Calls `function` with the lock held, until what it returned has come to its end.
    pub fn run<R: Reply>(&self, function: impl FnOnce() -> R + 'static) -> Deferred<R::Value> {
        self.0.run(function)
    }
}

/// Values that are put in at one end and waited for at the other (`defer.DeferredQueue`). A clone
/// is another handle on the same queue.
pub struct DeferredQueue<T: 'static>(Rc<Queue<T>>);

struct Queue<T: 'static> {
    values: RefCell<VecDeque<T>>,
    waiting: RefCell<VecDeque<Resolver<T>>>,
    size: usize,
    backlog: usize,
}

impl<T> DeferredQueue<T> {
    /// As many values and as many that wait for them as there may be.
    #[allow(clippy::new_without_default)] // as its neighbors are made
    pub fn new() -> DeferredQueue<T> {
        DeferredQueue::bounded(usize::MAX, usize::MAX)
    }

    /// At most `size` values that nobody waits for, at most `backlog` that wait for a value.
    pub fn bounded(size: usize, backlog: usize) -> DeferredQueue<T> {
        DeferredQueue(Rc::new(Queue {
            values: RefCell::default(),
            waiting: RefCell::default(),
            size,
            backlog,
        }))
    }

    /// Gives `value` to the first who waits, or keeps it.
    ///
    /// # Errors
    /// [`QueueOverflow`]: it holds `size` values already; this one is dropped.
    pub fn put(&self, value: T) -> Result<(), QueueOverflow> {
        if let Some(resolver) = next_waiting(&self.0.waiting) {
            resolver.callback(value);
            return Ok(());
        }
        if self.0.values.borrow().len() >= self.0.size {
            return Err(QueueOverflow);
        }
        self.0.values.borrow_mut().push_back(value);
        Ok(())
    }

    /// Fires with the next value. Cancelling it leaves the queue; no value is lost by that.
    pub fn get(&self) -> Deferred<T> {
        let value = self.0.values.borrow_mut().pop_front();
        if let Some(value) = value {
            return succeed(value);
        }
        let mut waiting = self.0.waiting.borrow_mut();
        if waiting.len() >= self.0.backlog {
            waiting.retain(|resolver| resolver.0.is_pending());
            if waiting.len() >= self.0.backlog {
                return fail(QueueUnderflow);
            }
        }
        let (resolver, deferred) = Deferred::new();
        waiting.push_back(resolver);
        deferred
    }
}

impl<T> Clone for DeferredQueue<T> {
    fn clone(&self) -> DeferredQueue<T> {
        DeferredQueue(self.0.clone())
    }
}

/// The first who waits and has not been cancelled.
fn next_waiting<T>(waiting: &RefCell<VecDeque<Resolver<T>>>) -> Option<Resolver<T>> {
    loop {
        let resolver = waiting.borrow_mut().pop_front()?;
        if resolver.0.is_pending() {
            return Some(resolver);
        }
    }
}

impl<T> Future for Deferred<T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.state.replace(State::Spent) {
            State::Fired(result) => Poll::Ready(result),
            State::Pending | State::Waiting(_) => {
                let (core, waker) = (Rc::downgrade(&self.0), context.waker().clone());
                let task = CURRENT.with_borrow(Clone::clone);
                if let Some(task) = &task {
                    task.awaits(Rc::downgrade(&self.0) as Weak<dyn Origin>);
                }
                let resume = move |result| {
                    match (core.upgrade(), result) {
                        (Some(core), result) => core.state.set(State::Fired(result)),
                        (None, Err(failure)) => report_unhandled(&failure),
                        (None, Ok(_)) => return,
                    }
                    waker.wake();
                    if let Some(task) = task {
                        task.step();
                    }
                };
                self.0.state.set(State::Waiting(Box::new(resume)));
                Poll::Pending
            }
            State::Spent => panic!("this Deferred has given its result away"),
        }
    }
}

/// Runs an `async` block that awaits Deferreds, and gives a Deferred of what it returns
/// (`defer.inlineCallbacks`). It runs at once, up to its first await; each Deferred that it awaits
/// resumes it when it fires. Cancelling calls off what it awaits at that moment: the block sees a
/// [`CancelledError`] there and may handle it.
///
/// There is no executor behind it and no waker: what it awaits must be Deferreds.
pub fn inline_callbacks<T: 'static>(
    block: impl Future<Output = Result<T, Failure>> + 'static,
) -> Deferred<T> {
    let (done, deferred) = Deferred::new();
    let task = Rc::new(Inline {
        block: Cell::new(Some(Box::pin(block))),
        done: Cell::new(Some(done)),
        awaited: RefCell::new(None),
    });
    deferred.0.origin.set(Some(task.clone()));
    run_soon(Box::new(move || task.step()));
    deferred
}

/// What resumes when a Deferred fires.
trait Task {
    fn step(self: Rc<Self>);
    fn awaits(&self, deferred: Weak<dyn Origin>);
}

type Block<T> = Pin<Box<dyn Future<Output = Result<T, Failure>>>>;

struct Inline<T: 'static> {
    block: Cell<Option<Block<T>>>,
    done: Cell<Option<Resolver<T>>>,
    awaited: RefCell<Option<Weak<dyn Origin>>>,
}

impl<T> Inline<T> {
    fn finish(&self, result: Result<T, Failure>) {
        if let Some(done) = self.done.take() {
            done.fire(result);
        }
    }
}

impl<T> Task for Inline<T> {
    fn step(self: Rc<Self>) {
        let Some(mut block) = self.block.take() else {
            return; // it has ended; what resumes it was awaited beside what ended it
        };
        let outer = CURRENT.replace(Some(self.clone()));
        let poll = || block.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let polled = catch_unwind(AssertUnwindSafe(poll));
        CURRENT.set(outer);
        match polled {
            Ok(Poll::Pending) => self.block.set(Some(block)),
            Ok(Poll::Ready(result)) => self.finish(result),
            Err(panic) => self.finish(Err(Failure::panicked(panic))),
        }
    }

    fn awaits(&self, deferred: Weak<dyn Origin>) {
        *self.awaited.borrow_mut() = Some(deferred);
    }
}

impl<T> Origin for Inline<T> {
    fn pending(&self) -> bool {
        true // when it has ended, its Deferred has a result and asks no more
    }

    fn upstream(&self) -> Option<Rc<dyn Origin>> {
        let awaited = self.awaited.borrow().as_ref().and_then(Weak::upgrade);
        awaited.filter(|awaited| awaited.pending())
    }

    fn call_off(&self) {
        drop(self.block.take());
        self.finish(Err(CancelledError.into()));
    }
}

thread_local! {
    static READY: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static CURRENT: RefCell<Option<Rc<dyn Task>>> = const { RefCell::new(None) };
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Runs `step` now or, inside another step, as soon as that one has returned: a loop where calls
/// inside calls would fill the stack.
fn run_soon(step: Box<dyn FnOnce()>) {
    struct Stopped;
    impl Drop for Stopped {
        fn drop(&mut self) {
            RUNNING.set(false);
        }
    }

    READY.with_borrow_mut(|ready| ready.push(step));
    if RUNNING.replace(true) {
        return;
    }
    let _stopped = Stopped; // also if a step unwinds
    while let Some(step) = READY.with_borrow_mut(Vec::pop) {
        let before = READY.with_borrow(Vec::len);
        step();
        // What this step has made ready runs next, in the order in which it was made ready.
        READY.with_borrow_mut(|ready| ready[before..].reverse());
    }
}

/// Has `observer` called with every error that no errback has handled, as long as the value it
/// returns is kept: at the moment in which the last one who could have handled it lets go of it, a
/// fixed point, where Python's depends on its garbage collector. Without an observer such an error
/// is a line on stderr.
pub fn observe_unhandled(observer: impl Fn(&Failure) + 'static) -> Observing {
    Observing(OBSERVER.replace(Some(Rc::new(observer))))
}

/// Ends, when it is dropped, what [`observe_unhandled`] began.
#[must_use]
pub struct Observing(Option<Observer>);

impl Drop for Observing {
    fn drop(&mut self) {
        drop(OBSERVER.replace(self.0.take()));
    }
}

fn report_unhandled(failure: &Failure) {
    match OBSERVER.with_borrow(Clone::clone) {
        Some(observer) => observer(failure),
        None => eprintln!("Unhandled error in Deferred: {failure}"),
    }
}

/// The aside that shows `inline_callbacks`.
pub mod inline;
/// The aside that shows the rest.
pub mod tour;

#[cfg(test)]
mod tests;
