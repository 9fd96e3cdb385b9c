//! A result that is to come (`asyncio.futures`).

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::event_loop::{Call, EventLoop};
use super::exceptions::Exception;

/// A result that is to come (`asyncio.Future`): callbacks can be added, and it can be awaited.
pub struct Future<T>(pub(super) Rc<Pending<T>>);

type DoneCallback<T> = Box<dyn FnOnce(&Future<T>)>;

pub(super) struct Pending<T> {
    pub(super) event_loop: EventLoop,
    result: RefCell<Option<Result<T, Exception>>>,
    callbacks: RefCell<Vec<DoneCallback<T>>>,
    /// What is to be called off with it.
    canceller: RefCell<Option<Call>>,
}

impl<T> Clone for Future<T> {
    fn clone(&self) -> Future<T> {
        Future(Rc::clone(&self.0))
    }
}

impl<T: Clone + 'static> Future<T> {
    /// Ends it with a result; a second end does nothing (asyncio raises `InvalidStateError`).
    pub fn set_result(&self, value: T) {
        self.finish(Ok(value));
    }

    /// Ends it with an error.
    pub fn set_exception(&self, error: impl Into<Exception>) {
        self.finish(Err(error.into()));
    }

    /// Ends it as cancelled, and calls off what it waits for. Whether it was not too late.
    pub fn cancel(&self) -> bool {
        let in_time = !self.done();
        let canceller = self.0.canceller.take();
        if in_time {
            if let Some(call_off) = canceller {
                call_off();
            }
            self.finish(Err(Exception::Cancelled));
        }
        in_time
    }

    /// Whether it has ended.
    pub fn done(&self) -> bool {
        self.0.result.borrow().is_some()
    }

    /// How it ended, if it has.
    pub fn result(&self) -> Option<Result<T, Exception>> {
        self.0.result.borrow().clone()
    }

    /// Calls `callback` in a turn of the loop once this has ended; never from inside this call.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Future<T>) + 'static) {
        self.0.callbacks.borrow_mut().push(Box::new(callback));
        if self.done() {
            self.schedule_callbacks();
        }
    }

    pub(super) fn on_cancel(&self, call_off: impl FnOnce() + 'static) {
        *self.0.canceller.borrow_mut() = Some(Box::new(call_off));
    }

    fn finish(&self, result: Result<T, Exception>) {
        if !self.done() {
            *self.0.result.borrow_mut() = Some(result);
            self.schedule_callbacks();
        }
    }

    fn schedule_callbacks(&self) {
        for callback in self.0.callbacks.take() {
            let future = self.clone();
            self.0.event_loop.call_soon(move || callback(&future));
        }
    }
}

impl EventLoop {
    /// A future of this loop (`loop.create_future`).
    pub fn create_future<T>(&self) -> Future<T> {
        Future(Rc::new(Pending {
            event_loop: self.clone(),
            result: RefCell::new(None),
            callbacks: RefCell::default(),
            canceller: RefCell::new(None),
        }))
    }
}

/// Awaiting a future: ask to be called when it is done, then be stepped again. This is all that
/// an `await` is (`Future.__await__`).
impl<T: Clone + 'static> std::future::Future for Future<T> {
    type Output = Result<T, Exception>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.result() {
            return Poll::Ready(result);
        }
        let waker = context.waker().clone();
        self.add_done_callback(move |_| waker.wake());
        Poll::Pending
    }
}
