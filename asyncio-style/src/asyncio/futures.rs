//! A result that is to come (`asyncio.futures`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::event_loop::{Call, EventLoop};
use super::exceptions::{Exception, RuntimeError};

/// A result that is to come (`asyncio.Future`): callbacks can be added, and it can be awaited. A
/// clone is the same future.
///
/// Cancellation goes down: if the task that awaits a future is dropped, the future is cancelled,
/// just as in asyncio a cancelled task cancels what it awaits. A handle that was never awaited does
/// not cancel it.
pub struct Future<T: 'static> {
    state: Rc<State<T>>,
    /// The number among the callbacks under which this handle is awaited.
    awaited: Option<u64>,
}

pub(super) struct State<T: 'static> {
    event_loop: EventLoop,
    result: RefCell<Option<Result<T, Exception>>>,
    callbacks: RefCell<BTreeMap<u64, Callback<T>>>,
    /// Frees what the future needs to get its result.
    canceller: RefCell<Option<Call>>,
    /// Whether an await of it is refused now: it is the running task.
    is_running: Cell<bool>,
    /// What to start when it is first waited for.
    begin: RefCell<Option<Call>>,
}

type DoneCallback<T> = Box<dyn FnOnce(&Future<T>)>;

enum Callback<T: 'static> {
    Call(DoneCallback<T>),
    Wake(Waker),
}

impl<T> Future<T> {
    /// Ends it with a result. A second end does nothing (asyncio raises `InvalidStateError`).
    pub fn set_result(&self, value: T) {
        self.finish(Ok(value));
    }

    /// Ends it with an error.
    pub fn set_exception(&self, error: impl Into<Exception>) {
        self.finish(Err(error.into()));
    }

    /// Ends it as cancelled, and stops the work for it: the coroutine of a task is dropped at its
    /// current await, and so cancels what it awaits. False if it was too late.
    pub fn cancel(&self) -> bool {
        if self.done() {
            return false;
        }
        call(&self.state.canceller);
        self.finish(Err(Exception::Cancelled));
        true
    }

    /// Whether it has ended.
    pub fn done(&self) -> bool {
        self.state.result.borrow().is_some()
    }

    /// Calls `callback` in a turn of the loop after this has ended, never inside this call.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Future<T>) + 'static) {
        self.add_callback(callback);
    }

    pub(super) fn event_loop(&self) -> &EventLoop {
        &self.state.event_loop
    }

    /// Like `add_done_callback`, until the returned guard is dropped (`remove_done_callback`).
    pub(super) fn watch(&self, callback: impl FnOnce(&Future<T>) + 'static) -> Watch<T> {
        let number = self.add_callback(callback);
        Watch { state: Rc::downgrade(&self.state), number }
    }

    /// Calls `begin` when this is first waited for.
    pub(super) fn on_first_wait(&self, begin: impl FnOnce(&Future<T>) + 'static) {
        let state = Rc::downgrade(&self.state);
        *self.state.begin.borrow_mut() = Some(Box::new(move || {
            let state = state.upgrade().expect("a waiter keeps it");
            begin(&Future { state, awaited: None });
        }));
    }

    /// Calls `free` if this is cancelled, or if its result is no longer wanted.
    pub(super) fn on_cancel(&self, free: impl FnOnce() + 'static) {
        *self.state.canceller.borrow_mut() = Some(Box::new(free));
    }

    /// Sets whether it is the running task, which cannot wait for itself.
    pub(super) fn set_running(&self, running: bool) {
        self.state.is_running.set(running);
    }

    /// How many callbacks wait for it.
    #[cfg(test)]
    pub(super) fn callbacks(&self) -> usize {
        self.state.callbacks.borrow().len()
    }

    fn add_callback(&self, callback: impl FnOnce(&Future<T>) + 'static) -> u64 {
        let number = self.state.event_loop.number();
        let callback = Callback::Call(Box::new(callback));
        self.state.callbacks.borrow_mut().insert(number, callback);
        call(&self.state.begin);
        if self.done() {
            self.schedule_callbacks();
        }
        number
    }

    fn finish(&self, result: Result<T, Exception>) {
        if !self.done() {
            *self.state.result.borrow_mut() = Some(result);
            self.schedule_callbacks();
        }
    }

    /// In the order in which they were added; a wake-up of a task is one of them.
    fn schedule_callbacks(&self) {
        for callback in self.state.callbacks.take().into_values() {
            match callback {
                Callback::Wake(waker) => waker.wake(),
                Callback::Call(callback) => {
                    let future = self.clone();
                    self.state.event_loop.call_soon(move || callback(&future));
                }
            }
        }
    }
}

impl<T: Clone> Future<T> {
    /// How it ended, if it has.
    pub fn result(&self) -> Option<Result<T, Exception>> {
        self.state.result.borrow().clone()
    }
}

impl<T> Clone for Future<T> {
    fn clone(&self) -> Future<T> {
        Future { state: Rc::clone(&self.state), awaited: None }
    }
}

/// Awaiting a future: it asks for a call when it is done, and then for the next step. An `await`
/// does nothing else (`Future.__await__`).
impl<T: Clone> std::future::Future for Future<T> {
    type Output = Result<T, Exception>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.state.is_running.get() {
            return Poll::Ready(Err(RuntimeError("a task cannot await itself").into()));
        }
        if let Some(result) = self.result() {
            self.awaited = None;
            return Poll::Ready(result);
        }
        let number = self.awaited.unwrap_or_else(|| self.state.event_loop.number());
        self.awaited = Some(number);
        let wake = Callback::Wake(context.waker().clone());
        let replaced = self.state.callbacks.borrow_mut().insert(number, wake);
        drop(replaced);
        call(&self.state.begin);
        Poll::Pending
    }
}

impl<T> Drop for Future<T> {
    fn drop(&mut self) {
        let Some(number) = self.awaited.take() else { return };
        let wake = self.state.callbacks.borrow_mut().remove(&number);
        drop(wake);
        // The result may already be there. Then it is unused, unless another handle exists.
        if !self.cancel() && Rc::strong_count(&self.state) == 1 {
            call(&self.state.canceller);
        }
    }
}

/// Calls it, if it has not been called yet.
fn call(hook: &RefCell<Option<Call>>) {
    let hook = hook.take();
    if let Some(hook) = hook {
        hook();
    }
}

/// A done-callback that is removed when this is dropped.
pub(super) struct Watch<T: 'static> {
    state: Weak<State<T>>,
    number: u64,
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        let callback = state.callbacks.borrow_mut().remove(&self.number);
        drop(callback);
    }
}

impl EventLoop {
    /// A future of this loop (`loop.create_future`).
    pub fn create_future<T>(&self) -> Future<T> {
        let state = State {
            event_loop: self.clone(),
            result: RefCell::new(None),
            callbacks: RefCell::default(),
            canceller: RefCell::new(None),
            is_running: Cell::new(false),
            begin: RefCell::new(None),
        };
        Future { state: Rc::new(state), awaited: None }
    }
}
