//! `locked` calls `work` when the lock is there, holds it until the Deferred that `work` returned
//! has fired, and fires with its result. Whatever that is, the next in the queue should get the
//! lock then.
//! Hint: which callbacks does an error pass by? `add_both` sees both. But who is cancelled while
//! waiting for the lock does not have it: where does the release belong?
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
