//! `locked` calls `work` when it has the lock, holds the lock until the Deferred that `work`
//! returned has fired, and fires with its result. Then the next waiter in the queue should get the
//! lock, for a value and for an error. Hint: which callbacks does an error skip? `add_both` sees
//! both. But a waiter that is cancelled in the queue does not have the lock. So where does the
//! release belong?
//! Claim W3, slide 33: Deferreds, callback and errback chains. `DeferredLock::run` does it right.
//! Try it: `cargo test -p twisted-style lock_not_released -- --ignored`

use crate::twisted::defer::Deferred;
use crate::twisted::locks::DeferredLock;

/// A clone of the lock is another handle on the same one.
pub fn locked(
    lock: &DeferredLock,
    work: impl FnOnce() -> Deferred<u32> + 'static,
) -> Deferred<u32> {
    let held = lock.clone();
    lock.acquire().add_callback(|()| work()).add_callback(move |value| {
        held.release();
        Ok(value)
    })
}
