//! `count` waits for a page and fires with the result of `compute`, which takes long. The reactor
//! should go on meanwhile: other callbacks are due.
//! Hint: nothing else runs until a callback returns. A callback may return a Deferred, and the
//! reactor has one for work in a thread; a clone of the reactor is a handle on the same one.
//! Claims A1, slide 28: one blocking call stalls all others; W4, slide 33: blocking work is deferred
//! to a thread.
//! Try it: `cargo test -p twisted-style computing_callback -- --ignored`

use crate::twisted::defer::Deferred;
use crate::twisted::reactor::Reactor;

pub fn count(
    _reactor: &Reactor,
    page: Deferred<String>,
    compute: impl FnOnce(String) -> usize + Send + 'static,
) -> Deferred<usize> {
    page.add_callback(move |page| Ok(compute(page)))
}
