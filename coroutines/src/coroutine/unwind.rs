//! How a suspended coroutine ends: its stack is unwound, as by a panic without a message.
//!
//! corosensei can do this too. But it aborts the program if a destructor of the body panics then,
//! drops a body twice if its first drop panicked, and never returns if the body suspends forever.
//! So a coroutine here is always resumed until it returns, and learns from its input that it has to
//! end.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use corosensei::stack::Stack;
use corosensei::{Coroutine, CoroutineResult};

/// How often a coroutine may catch its own end.
const ATTEMPTS: usize = 10;

/// The payload: it is caught where the coroutine began.
struct Unwinding;

/// Unwinds the caller's stack.
pub fn unwind() -> ! {
    resume_unwind(Box::new(Unwinding))
}

/// Whether this is the payload of [`unwind`], not that of a panic.
pub fn is_unwinding(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Unwinding>()
}

/// Resumes a coroutine until it has ended. The input is `input` of the number of the attempt.
/// Returns its result, or `None` if it panicked, which has already been printed on stderr.
pub fn finish<I, Y, R, S: Stack>(
    mut coroutine: Coroutine<I, Y, R, S>,
    input: impl Fn(usize) -> I,
) -> Option<R> {
    for attempt in 0..ATTEMPTS {
        let resumed = catch_unwind(AssertUnwindSafe(|| match coroutine.resume(input(attempt)) {
            CoroutineResult::Yield(_) => None,
            CoroutineResult::Return(value) => Some(value),
        }));
        if coroutine.done() {
            return resumed.ok().flatten();
        }
    }
    // It keeps its stack forever. Nothing on it is dropped, so nothing is used after its drop.
    eprintln!("a coroutine was closed and does not end: its stack leaks");
    mem::forget(coroutine);
    None
}
