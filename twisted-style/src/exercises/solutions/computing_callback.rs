//! `count` waits for a page and fires with the result of `compute`, which takes long. The reactor
//! should go on meanwhile: other callbacks are due.
//! What was wrong: it computed in a callback, and so on the reactor's thread.
//! Claims A1, slide 28: one blocking call stalls all others; W4, slide 33: blocking work is deferred
//! to a thread.

use crate::twisted::defer::Deferred;
use crate::twisted::reactor::Reactor;

pub fn count(
    reactor: &Reactor,
    page: Deferred<String>,
    compute: impl FnOnce(String) -> usize + Send + 'static,
) -> Deferred<usize> {
    let reactor = reactor.clone();
    page.add_callback(move |page| reactor.defer_to_thread(move || Ok(compute(page))))
}
