//! A chain written as an `async` block: `twisted.internet.defer.inlineCallbacks`.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::defer::{Deferred, Origin, Resolver, State, run_soon};
use super::failure::{CancelledError, Failure, report_unhandled};

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
    static CURRENT: RefCell<Option<Rc<dyn Task>>> = const { RefCell::new(None) };
}
