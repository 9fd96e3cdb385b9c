//! An error on its way to its errback: `twisted.python.failure`, and the errors of
//! `twisted.internet.defer`.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// An error on its way to its errback (`twisted.python.failure.Failure`). A clone is the same
/// error, so that several Deferreds can fail with it.
#[derive(Clone)]
pub struct Failure(Arc<dyn Error + Send + Sync>);

impl Failure {
    /// The error, if it is an `E` (`Failure.check`).
    pub fn check<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// Handles an `E` only: any other error is passed on (`Failure.trap`).
    pub fn trap<E: Error + 'static>(&self) -> Result<&E, Failure> {
        self.check().ok_or_else(|| self.clone())
    }

    /// The message of a panic, as an error.
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
    /// The result of a Deferred that took longer than `Deferred::add_timeout` allows.
    TimeoutError says "timed out";
    /// The result of a Deferred if its `Resolver` was dropped before it fired.
    AbandonedError says "the Resolver was dropped before it fired";
    /// `DeferredQueue::put` on a full queue.
    QueueOverflow says "the queue is full";
    /// `DeferredQueue::get` on a queue that has its maximum of waiting `get`s.
    QueueUnderflow says "too many calls of get are waiting";
}

/// The result of a `race` if all have failed: their errors, in the order given.
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

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Calls `observer` with every error that no errback has handled, until the returned value is
/// dropped. This happens when the last handle on the Deferred is dropped: a defined moment, where
/// Python's depends on the garbage collector. Without an observer the error is a line on stderr.
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

pub(super) fn report_unhandled(failure: &Failure) {
    match OBSERVER.with_borrow(Clone::clone) {
        // It runs inside a call that fires or drops a Deferred: a panic must not reach that caller.
        Some(observer) => drop(catch_unwind(AssertUnwindSafe(|| observer(failure)))),
        None => eprintln!("Unhandled error in Deferred: {failure}"),
    }
}
