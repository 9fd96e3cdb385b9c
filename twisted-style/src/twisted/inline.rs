//! A chain written as an `async` block: `twisted.internet.defer.inlineCallbacks`.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::chain::{Origin, cancel, run_now, run_soon};
use super::defer::{Deferred, Resolver};
use super::failure::{CancelledError, Failure};

thread_local! {
    /// The block that runs now.
    static CURRENT: RefCell<Option<Rc<dyn Task>>> = const { RefCell::new(None) };
}

impl<T> Future for Deferred<T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let block = CURRENT.with_borrow(Clone::clone);
        if let Some(block) = &block {
            block.awaits(&self.as_origin());
        }
        let waker = context.waker().clone();
        let result = self.0.take(move || {
            waker.wake();
            if let Some(block) = block {
                block.resume();
            }
        });
        result.map_or(Poll::Pending, Poll::Ready)
    }
}

/// Runs an `async` block that awaits Deferreds, and gives a Deferred of what it returns
/// (`defer.inlineCallbacks`). It runs at once, up to its first await; each Deferred that it awaits
/// resumes it when it fires. Cancelling cancels what it awaits at that moment: the block sees a
/// [`CancelledError`] there and may handle it. A block that cancels itself sees it at its next
/// await.
///
/// There is no executor behind it and no waker: what it awaits must be Deferreds.
pub fn inline_callbacks<T: 'static>(
    block: impl Future<Output = Result<T, Failure>> + 'static,
) -> Deferred<T> {
    let (done, deferred) = Deferred::new();
    let task = Rc::new(Inline {
        block: RefCell::new(Some(Box::pin(block))),
        done: Cell::new(Some(done)),
        awaited: RefCell::new(None),
        ready: Cell::new(true),
        cancelled: Cell::new(false),
    });
    deferred.0.origin.set(Some(task.clone()));
    run_now(task);
    deferred
}

/// A block that a Deferred resumes when it fires.
trait Task {
    fn awaits(&self, deferred: &Rc<dyn Origin>);
    fn resume(self: Rc<Self>);
}

type Block<T> = Pin<Box<dyn Future<Output = Result<T, Failure>>>>;

struct Inline<T: 'static> {
    /// Borrowed while it runs, gone when it has ended.
    block: RefCell<Option<Block<T>>>,
    done: Cell<Option<Resolver<T>>>,
    awaited: RefCell<Option<Weak<dyn Origin>>>,
    /// The Deferred it awaits has fired, and it has not run since.
    ready: Cell<bool>,
    /// It has cancelled itself.
    cancelled: Cell<bool>,
}

impl<T> Inline<T> {
    fn running(&self) -> bool {
        self.block.try_borrow().is_err()
    }

    fn finish(&self, result: Result<T, Failure>) {
        if let Some(done) = self.done.take() {
            done.fire(result);
        }
    }
}

impl<T> Task for Inline<T> {
    fn awaits(&self, deferred: &Rc<dyn Origin>) {
        self.awaited.replace(Some(Rc::downgrade(deferred)));
    }

    fn resume(self: Rc<Self>) {
        if !self.ready.replace(true) {
            run_soon(self);
        }
    }
}

impl<T> Origin for Inline<T> {
    fn upstream(&self) -> Option<Rc<dyn Origin>> {
        let awaited = self.awaited.borrow().as_ref().and_then(Weak::upgrade);
        awaited.filter(|awaited| !self.running() && (awaited.pending() || awaited.ready()))
    }

    fn ready(&self) -> bool {
        self.ready.get() && !self.running()
    }

    fn run(self: Rc<Self>) {
        let Ok(mut place) = self.block.try_borrow_mut() else { return };
        let Some(block) = place.as_mut().filter(|_| self.ready.take()) else {
            return; // it has ended, or has run already
        };
        let outer = CURRENT.replace(Some(self.clone()));
        let poll = || block.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let polled = catch_unwind(AssertUnwindSafe(poll));
        CURRENT.set(outer);
        let result = match polled {
            Ok(Poll::Pending) => {
                drop(place);
                if self.ready.get() {
                    run_soon(self.clone()); // resumed while it ran
                }
                if self.cancelled.take() {
                    cancel(&(self as Rc<dyn Origin>));
                }
                return;
            }
            Ok(Poll::Ready(result)) => result,
            Err(panic) => Err(Failure::panicked(panic)),
        };
        let ended = place.take();
        drop(place);
        drop(ended);
        self.finish(result);
    }

    fn cancel(self: Rc<Self>) {
        let Ok(mut place) = self.block.try_borrow_mut() else {
            return self.cancelled.set(true);
        };
        let ended = place.take();
        drop(place);
        drop(ended);
        self.finish(Err(CancelledError.into()));
    }

    fn pending(&self) -> bool {
        true // when it has ended, its Deferred has a result and is not asked
    }
}
