//! The lock, the semaphore and the queue of `twisted.internet.defer`: a wait for one of them is a
//! Deferred.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::defer::{Deferred, Reply, Resolver, fail, maybe_deferred, succeed};
use super::failure::{QueueOverflow, QueueUnderflow};

/// A limited number of holders at once (`defer.DeferredSemaphore`). A clone is another handle on
/// the same semaphore.
#[derive(Clone)]
pub struct DeferredSemaphore(pub(super) Rc<Semaphore>);

pub(super) struct Semaphore {
    limit: usize,
    tokens: Cell<usize>,
    pub(super) waiting: RefCell<VecDeque<Resolver<()>>>,
}

impl DeferredSemaphore {
    /// `tokens` is how many can hold it at once.
    ///
    /// # Panics
    /// There is no token.
    pub fn new(tokens: usize) -> DeferredSemaphore {
        assert!(tokens > 0, "a semaphore has at least one token");
        DeferredSemaphore(Rc::new(Semaphore {
            limit: tokens,
            tokens: Cell::new(tokens),
            waiting: RefCell::default(),
        }))
    }

    /// Fires when a token is free: first come, first served. Every token must be
    /// [released](DeferredSemaphore::release); [`run`](DeferredSemaphore::run) does that.
    /// Cancelling it removes it from the queue.
    pub fn acquire(&self) -> Deferred<()> {
        let tokens = self.0.tokens.get();
        if tokens > 0 {
            self.0.tokens.set(tokens - 1);
            return succeed(());
        }
        wait_in(&mut self.0.waiting.borrow_mut())
    }

    /// Releases a token; the first in the queue gets it.
    pub fn release(&self) {
        if let Some(resolver) = next_waiting(&self.0.waiting) {
            return resolver.callback(());
        }
        let tokens = self.0.tokens.get() + 1;
        assert!(tokens <= self.0.limit, "released more often than acquired");
        self.0.tokens.set(tokens);
    }

    /// Acquires, calls `function`, and releases when it has ended and the Deferred that it returned
    /// has fired, with a value or an error.
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
pub struct DeferredLock(pub(super) DeferredSemaphore);

impl DeferredLock {
    /// A lock that is free.
    #[allow(clippy::new_without_default)] // as its neighbors are made
    pub fn new() -> DeferredLock {
        DeferredLock(DeferredSemaphore::new(1))
    }

    /// Fires when the caller has the lock, until [`release`](DeferredLock::release).
    pub fn acquire(&self) -> Deferred<()> {
        self.0.acquire()
    }

    /// Releases the lock; the first in the queue gets it.
    pub fn release(&self) {
        self.0.release();
    }

    /// Calls `function` with the lock held; releases it when the Deferred it returned has fired.
    pub fn run<R: Reply>(&self, function: impl FnOnce() -> R + 'static) -> Deferred<R::Value> {
        self.0.run(function)
    }
}

/// Values that are put in at one end and waited for at the other (`defer.DeferredQueue`). A clone
/// is another handle on the same queue.
pub struct DeferredQueue<T: 'static>(pub(super) Rc<Queue<T>>);

pub(super) struct Queue<T: 'static> {
    values: RefCell<VecDeque<T>>,
    pub(super) waiting: RefCell<VecDeque<Resolver<T>>>,
    size: usize,
    backlog: usize,
}

impl<T> DeferredQueue<T> {
    /// A queue without limits.
    #[allow(clippy::new_without_default)] // as its neighbors are made
    pub fn new() -> DeferredQueue<T> {
        DeferredQueue::bounded(usize::MAX, usize::MAX)
    }

    /// A queue of at most `size` values, and at most `backlog` calls of `get` that wait for one.
    pub fn bounded(size: usize, backlog: usize) -> DeferredQueue<T> {
        DeferredQueue(Rc::new(Queue {
            values: RefCell::default(),
            waiting: RefCell::default(),
            size,
            backlog,
        }))
    }

    /// Gives `value` to the first `get` that waits, or keeps it.
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

    /// Fires with the next value. Cancelling it loses no value.
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
        wait_in(&mut waiting)
    }
}

impl<T> Clone for DeferredQueue<T> {
    fn clone(&self) -> DeferredQueue<T> {
        DeferredQueue(self.0.clone())
    }
}

/// Adds a waiter at the end. Cancelled waiters are removed before the queue would grow.
fn wait_in<T>(waiting: &mut VecDeque<Resolver<T>>) -> Deferred<T> {
    if waiting.len() == waiting.capacity() {
        waiting.retain(|resolver| resolver.0.is_pending());
        waiting.reserve(waiting.len() + 1); // not to look again at every call
    }
    let (resolver, deferred) = Deferred::new();
    waiting.push_back(resolver);
    deferred
}

/// The first waiter that has not been cancelled.
fn next_waiting<T>(waiting: &RefCell<VecDeque<Resolver<T>>>) -> Option<Resolver<T>> {
    loop {
        let resolver = waiting.borrow_mut().pop_front()?;
        if resolver.0.is_pending() {
            return Some(resolver);
        }
    }
}
