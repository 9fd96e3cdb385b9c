//! Generators: functions that hand out a value, stop, and go on when the next one is asked for.
//!
//! [`Generator`] has a stack of its own (corosensei), so its body may yield from any depth of
//! calls. [`stackless`] below is the other kind, which the compiler makes of an `async` block: no
//! stack, and every function on the way to a yield has to be `async` too.
//!
//! The rules are those of PEP 342; `yield from` is in `delegation.rs`.

use std::error::Error;
use std::fmt;

use corosensei::{Coroutine, CoroutineResult};

use super::stack::PooledStack;

/// An exception: whatever error was thrown in, or comes out.
pub type Raised = Box<dyn Error>;

/// What the body yields through: `let sent = yielder.suspend(value)?;` is `sent = yield value`.
pub type Yielder<S, Y> = corosensei::Yielder<Result<S, Raised>, Y>;

/// What came out of a generator.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<Y, R> {
    Yielded(Y),
    /// It has ended. Python carries the value in `StopIteration.value`.
    Returned(R),
}

/// Takes values of type `S`, yields `Y` and at the end returns `R`.
///
/// Dropping one that is suspended unwinds its stack: destructors run.
pub struct Generator<S, Y, R> {
    coroutine: Coroutine<Result<S, Raised>, Y, Result<R, Raised>, PooledStack>,
    returned: Option<R>,
}

impl<S: 'static, Y: 'static, R: 'static> Generator<S, Y, R> {
    /// Nothing of the body runs before the first value is asked for.
    ///
    /// # Panics
    ///
    /// When the kernel has no stack left.
    pub fn new<F>(body: F) -> Generator<S, Y, R>
    where
        F: FnOnce(&Yielder<S, Y>) -> Result<R, Raised> + 'static,
    {
        let stack = PooledStack::new().unwrap_or_else(|error| panic!("no stack: {error}"));
        // No yield waits for the first thing sent: it only starts the body.
        let coroutine = Coroutine::with_stack(stack, |yielder, _start| body(yielder));
        Generator { coroutine, returned: None }
    }

    /// Runs to the first yield: the first `next(g)`, without which nothing can be sent.
    ///
    /// # Errors
    ///
    /// What the body raises; [`Misuse`] if it has started before.
    pub fn start(&mut self) -> Result<Step<Y, R>, Raised> {
        if self.coroutine.started() {
            return Err(Misuse("the generator has started before").into());
        }
        self.resume(Err(StopIteration.into()))
    }

    /// The body's `yield` evaluates to `value`, and it runs to the next one.
    ///
    /// # Errors
    ///
    /// What the body raises; [`StopIteration`] after its end; [`Misuse`] before its start.
    pub fn send(&mut self, value: S) -> Result<Step<Y, R>, Raised> {
        if self.coroutine.done() {
            return Err(StopIteration.into());
        }
        if !self.coroutine.started() {
            return Err(Misuse("can't send a value to a just-started generator").into());
        }
        self.resume(Ok(value))
    }

    /// The body's `yield` raises `error`. The body may handle it and go on.
    ///
    /// # Errors
    ///
    /// What the body raises. Before its start and after its end that is `error` itself.
    pub fn throw(&mut self, error: impl Into<Raised>) -> Result<Step<Y, R>, Raised> {
        if !self.coroutine.started() {
            self.coroutine.force_unwind();
        }
        if self.coroutine.done() {
            return Err(error.into());
        }
        self.resume(Err(error.into()))
    }

    /// Ends the generator: its `yield` raises [`GeneratorExit`].
    ///
    /// # Errors
    ///
    /// What the body raises instead; [`Misuse`] if it yields once more.
    pub fn close(&mut self) -> Result<(), Raised> {
        match self.throw(GeneratorExit) {
            Ok(Step::Yielded(_)) => Err(Misuse("generator ignored GeneratorExit").into()),
            Ok(Step::Returned(_)) => Ok(()),
            Err(raised) if raised.is::<GeneratorExit>() => Ok(()),
            Err(raised) => Err(raised),
        }
    }

    /// The return value, if a `for` loop has run to the end; once.
    pub fn returned(&mut self) -> Option<R> {
        self.returned.take()
    }

    fn resume(&mut self, sent: Result<S, Raised>) -> Result<Step<Y, R>, Raised> {
        match self.coroutine.resume(sent) {
            CoroutineResult::Yield(value) => Ok(Step::Yielded(value)),
            CoroutineResult::Return(Ok(value)) => Ok(Step::Returned(value)),
            CoroutineResult::Return(Err(raised)) => Err(raised),
        }
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
        if self.coroutine.done() {
            return None;
        }
        match self.resume(Ok(())) {
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

/// Raised where a generator that is closed waits. Pass it on, with `?`.
#[derive(Debug)]
pub struct GeneratorExit;

impl fmt::Display for GeneratorExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GeneratorExit")
    }
}

impl Error for GeneratorExit {}

/// What Python calls a `TypeError` or a `RuntimeError`, in its words.
#[derive(Debug)]
pub struct Misuse(pub &'static str);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Misuse {}

/// The same by hand and without a stack: an `async` block is a generator that somebody polls.
pub mod stackless {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    use super::Step;

    /// One value on its way out, one on its way in.
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
        body: Pin<Box<dyn Future<Output = R>>>,
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
            Generator { body, slot }
        }

        /// Runs to the first yield.
        pub fn start(&mut self) -> Step<Y, R> {
            // Nobody needs to be woken: whoever wants the next value polls.
            match self.body.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => Step::Returned(value),
                Poll::Pending => Step::Yielded(
                    self.slot.yielded.take().expect("the body awaits its own yields only"),
                ),
            }
        }

        /// Runs on to the next yield, with `value`.
        pub fn send(&mut self, value: S) -> Step<Y, R> {
            self.slot.sent.set(Some(value));
            self.start()
        }
    }
}

#[cfg(test)]
mod tests;
