//! Generators: functions that yield a value, stop, and go on when the next one is requested.
//!
//! [`Generator`] has a stack of its own (corosensei), so its body may yield from any depth of
//! calls. [`stackless`] below is the other kind, which the compiler makes from an `async` block. It
//! has no stack, so every function on the way to a yield has to be `async` too.
//!
//! The rules are those of PEP 342; `yield from` is in `delegation.rs`.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use corosensei::{Coroutine, CoroutineResult};

use super::stack::PooledStack;
use super::unwind::{finish, unwind};

/// An exception: any error that is thrown in or raised.
pub type Raised = Box<dyn Error>;

/// What a generator did when it was resumed.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<Y, R> {
    Yielded(Y),
    /// It has ended. Python carries the value in `StopIteration.value`.
    Returned(R),
}

/// What is passed into a body.
enum Sent<S> {
    /// No yield waits for a value yet: this only starts the body.
    Start,
    Value(S),
    Raise(Raised),
    /// The body did not end when it was told to.
    Unwind,
}

type Body<S, Y, R> = Coroutine<Sent<S>, Y, Result<R, Raised>, PooledStack>;

/// What the body yields through: `let sent = yielder.suspend(value)?;` is `sent = yield value`.
pub struct Yielder<'a, S, Y> {
    inner: &'a corosensei::Yielder<Sent<S>, Y>,
    /// Another panic was under way when the body was resumed.
    panicking: Cell<bool>,
}

impl<S, Y> Yielder<'_, S, Y> {
    /// Yields `value` and waits until the next one is requested.
    ///
    /// # Errors
    ///
    /// An error that is thrown in; [`GeneratorExit`] when the generator is closed or dropped;
    /// [`Misuse`] in a destructor while the body panics.
    pub fn suspend(&self, value: Y) -> Result<S, Raised> {
        if thread::panicking() && !self.panicking.get() {
            return Err(Misuse("a generator that is being unwound cannot yield").into());
        }
        let sent = self.inner.suspend(value);
        self.panicking.set(thread::panicking());
        match sent {
            Sent::Value(value) => Ok(value),
            Sent::Raise(raised) => Err(raised),
            Sent::Start => Err(Misuse("the generator has started before").into()),
            Sent::Unwind => {
                self.panicking.set(false);
                unwind()
            }
        }
    }
}

/// Takes values of type `S`, yields `Y` and at the end returns `R`.
///
/// Dropping one that is suspended closes it, so destructors run. If its body panics or raises an
/// error then, that is printed on stderr and has no other effect.
pub struct Generator<S, Y, R> {
    /// None when it has ended.
    coroutine: Option<Body<S, Y, R>>,
    returned: Option<R>,
}

impl<S: 'static, Y: 'static, R: 'static> Generator<S, Y, R> {
    /// The body does not run before the first value is requested.
    ///
    /// # Panics
    ///
    /// When the kernel has no stack left; [`try_new`](Generator::try_new) reports that as an error.
    pub fn new<F>(body: F) -> Generator<S, Y, R>
    where
        F: FnOnce(&Yielder<S, Y>) -> Result<R, Raised> + 'static,
    {
        Generator::try_new(body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`new`](Generator::new). The error names the limit of the kernel that was reached.
    pub fn try_new<F>(body: F) -> io::Result<Generator<S, Y, R>>
    where
        F: FnOnce(&Yielder<S, Y>) -> Result<R, Raised> + 'static,
    {
        let coroutine =
            Coroutine::with_stack(PooledStack::new()?, |inner, first: Sent<S>| match first {
                // An error that is thrown in before the start is raised before the first line.
                Sent::Raise(raised) => Err(raised),
                _ => body(&Yielder { inner, panicking: Cell::new(thread::panicking()) }),
            });
        Ok(Generator { coroutine: Some(coroutine), returned: None })
    }

    /// Runs to the first yield: the first `next(g)`, without which nothing can be sent.
    ///
    /// # Errors
    ///
    /// What the body raises; [`Misuse`] if it waits at a yield already; [`StopIteration`] if it has
    /// ended.
    pub fn start(&mut self) -> Result<Step<Y, R>, Raised> {
        if self.is_suspended() {
            return Err(Misuse("the generator has started before").into());
        }
        self.resume(Sent::Start)
    }

    /// The body's `yield` evaluates to `value`, and it runs to the next one.
    ///
    /// # Errors
    ///
    /// What the body raises; [`StopIteration`] after its end; [`Misuse`] before its start.
    pub fn send(&mut self, value: S) -> Result<Step<Y, R>, Raised> {
        if self.coroutine.as_ref().is_some_and(|coroutine| !coroutine.started()) {
            return Err(Misuse("can't send a value to a just-started generator").into());
        }
        self.resume(Sent::Value(value))
    }

    /// The body's `yield` raises `error`. The body may handle it and go on.
    ///
    /// # Errors
    ///
    /// What the body raises. Before its start and after its end that is `error` itself.
    pub fn throw(&mut self, error: impl Into<Raised>) -> Result<Step<Y, R>, Raised> {
        if self.has_ended() {
            return Err(error.into());
        }
        self.resume(Sent::Raise(error.into()))
    }

    /// Ends the generator: its `yield` raises [`GeneratorExit`]. Returns what the body then
    /// returns; `None` if it had not started, had ended, or passes the `GeneratorExit` on.
    ///
    /// # Errors
    ///
    /// What the body raises instead; [`Misuse`] if it yields once more.
    pub fn close(&mut self) -> Result<Option<R>, Raised> {
        match self.throw(GeneratorExit) {
            Ok(Step::Yielded(_)) => Err(Misuse(IGNORED).into()),
            Ok(Step::Returned(value)) => Ok(Some(value)),
            Err(raised) if raised.is::<GeneratorExit>() => Ok(None),
            Err(raised) => Err(raised),
        }
    }

    /// The return value, once, if a `for` loop has run to the end.
    pub fn returned(&mut self) -> Option<R> {
        self.returned.take()
    }

    /// `next(g)`, started or not: there is no `None` to send, so the default is sent.
    pub(super) fn advance(&mut self) -> Result<Step<Y, R>, Raised>
    where
        S: Default,
    {
        self.resume(if self.is_suspended() { Sent::Value(S::default()) } else { Sent::Start })
    }

    /// True after its return, and after a panic.
    fn has_ended(&self) -> bool {
        self.coroutine.as_ref().is_none_or(Coroutine::done)
    }

    fn is_suspended(&self) -> bool {
        !self.has_ended() && self.coroutine.as_ref().is_some_and(Coroutine::started)
    }

    fn resume(&mut self, sent: Sent<S>) -> Result<Step<Y, R>, Raised> {
        let coroutine = self.coroutine.as_mut().filter(|coroutine| !coroutine.done());
        let result = match coroutine.ok_or(StopIteration)?.resume(sent) {
            CoroutineResult::Yield(value) => return Ok(Step::Yielded(value)),
            CoroutineResult::Return(result) => result,
        };
        self.coroutine = None;
        match result {
            Ok(value) => Ok(Step::Returned(value)),
            // The caller would take it for an ordinary end. (PEP 479)
            Err(raised) if raised.is::<StopIteration>() => {
                Err(Misuse("generator raised StopIteration").into())
            }
            Err(raised) => Err(raised),
        }
    }
}

const IGNORED: &str = "generator ignored GeneratorExit";

impl<S, Y, R> Drop for Generator<S, Y, R> {
    fn drop(&mut self) {
        let Some(coroutine) = self.coroutine.take_if(|coroutine| !coroutine.done()) else {
            return;
        };
        // As `close` does. But no caller can take an error, and none may leave a destructor.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let result = finish(coroutine, |attempt| match attempt {
                0 => Sent::Raise(GeneratorExit.into()),
                1 => {
                    eprintln!("while a generator was dropped: {IGNORED}");
                    Sent::Unwind
                }
                _ => Sent::Unwind,
            });
            if let Some(Err(raised)) = result
                && !raised.is::<GeneratorExit>()
            {
                eprintln!("while a generator was dropped: {raised}");
            }
        }));
    }
}

/// A generator into which nothing is sent is an iterator.
///
/// # Panics
///
/// When the body raises: a `for` loop has no place for it. [`Generator::send`] has.
impl<Y: 'static, R: 'static> Iterator for Generator<(), Y, R> {
    type Item = Y;

    fn next(&mut self) -> Option<Y> {
        if self.has_ended() {
            return None;
        }
        match self.resume(Sent::Value(())) {
            Ok(Step::Yielded(value)) => Some(value),
            Ok(Step::Returned(value)) => {
                self.returned = Some(value);
                None
            }
            Err(raised) => panic!("the generator raised: {raised}"),
        }
    }
}

/// There is no next value.
#[derive(Debug)]
pub struct StopIteration;

impl fmt::Display for StopIteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopIteration")
    }
}

impl Error for StopIteration {}

/// Raised at the current yield of a generator that is closed. Pass it on, with `?`.
#[derive(Debug)]
pub struct GeneratorExit;

impl fmt::Display for GeneratorExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GeneratorExit")
    }
}

impl Error for GeneratorExit {}

/// What Python calls a `TypeError` or a `RuntimeError`, with Python's message.
#[derive(Debug)]
pub struct Misuse(pub &'static str);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Misuse {}

/// The same by hand and without a stack: an `async` block that is polled for each value.
pub mod stackless {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    use super::{Misuse, Raised, Step, StopIteration};

    /// A value to the caller, and a value from it.
    struct Slot<S, Y> {
        yielded: Cell<Option<Y>>,
        sent: Cell<Option<S>>,
    }

    pub struct Yielder<S, Y>(Rc<Slot<S, Y>>);

    impl<S, Y> Yielder<S, Y> {
        /// `sent = yield value`
        pub async fn suspend(&self, value: Y) -> S {
            self.0.yielded.set(Some(value));
            poll_fn(|_| self.0.sent.take().map_or(Poll::Pending, Poll::Ready)).await
        }
    }

    pub struct Generator<S, Y, R> {
        /// None when it has ended.
        body: Option<Pin<Box<dyn Future<Output = R>>>>,
        started: bool,
        slot: Rc<Slot<S, Y>>,
    }

    impl<S, Y, R> Generator<S, Y, R> {
        pub fn new<F>(body: impl FnOnce(Yielder<S, Y>) -> F) -> Generator<S, Y, R>
        where
            F: Future<Output = R> + 'static,
        {
            let (yielded, sent) = (Cell::new(None), Cell::new(None));
            let slot = Rc::new(Slot { yielded, sent });
            let body = Box::pin(body(Yielder(slot.clone())));
            Generator { body: Some(body), started: false, slot }
        }

        /// Runs to the first yield.
        ///
        /// # Errors
        ///
        /// [`Misuse`] if it waits at a yield already; [`StopIteration`] if it has ended.
        pub fn start(&mut self) -> Result<Step<Y, R>, Raised> {
            if self.started && self.body.is_some() {
                return Err(Misuse("the generator has started before").into());
            }
            self.resume(None)
        }

        /// Runs on to the next yield, with `value`.
        ///
        /// # Errors
        ///
        /// [`StopIteration`] after its end; [`Misuse`] before its start.
        pub fn send(&mut self, value: S) -> Result<Step<Y, R>, Raised> {
            if !self.started {
                return Err(Misuse("can't send a value to a just-started generator").into());
            }
            self.resume(Some(value))
        }

        fn resume(&mut self, sent: Option<S>) -> Result<Step<Y, R>, Raised> {
            // Put back when it yields. A body that has returned or panicked cannot be polled again.
            let mut body = self.body.take().ok_or(StopIteration)?;
            self.started = true;
            self.slot.sent.set(sent);
            // The waker does nothing: the caller polls when it wants the next value.
            if let Poll::Ready(value) = body.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return Ok(Step::Returned(value));
            }
            let yielded = self.slot.yielded.take();
            let value = yielded.ok_or(Misuse("the body awaited something that is not a yield"))?;
            self.body = Some(body);
            Ok(Step::Yielded(value))
        }
    }
}

#[cfg(test)]
mod tests;
