//! `locked` calls `work` when it has the lock, holds the lock until the Deferred that `work`
//! returned has fired, and fires with its result. Then the next waiter in the queue should get the
//! lock, for a value and for an error. What was wrong: an error skipped the callback that releases.
//! The release belongs to the chain of the work, not to that of the lock: a waiter cancelled in the
//! queue has nothing to release.
//! Claim W3, slide 33: Deferreds, callback and errback chains. `DeferredLock::run` does it right.

use crate::twisted::defer::{Deferred, maybe_deferred};
use crate::twisted::locks::DeferredLock;

/// A clone of the lock is another handle on the same one.
pub fn locked(
    lock: &DeferredLock,
    work: impl FnOnce() -> Deferred<u32> + 'static,
) -> Deferred<u32> {
    let held = lock.clone();
    lock.acquire().add_callback(move |()| {
        // A panic of `work` itself is an error of the chain too.
        maybe_deferred(work).add_both(move |result| {
            held.release();
            result
        })
    })
}
