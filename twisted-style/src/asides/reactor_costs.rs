//! What the calls of the aside `reactor` cost.

use std::io;
use std::time::{Duration, Instant};

use common::report::section::Section;

use crate::twisted::defer::{Deferred, succeed};
use crate::twisted::reactor::Reactor;

/// What these calls cost, from the call until the called function has returned.
pub(super) fn measure(section: &mut Section) -> io::Result<()> {
    const CALLS: u32 = 10_000;
    const TRIPS: u32 = 200;

    fn chain(reactor: Reactor, left: u32) {
        let next = reactor.clone();
        reactor.call_when_running(move || match left {
            0 => next.stop(),
            left => chain(next, left - 1),
        });
    }

    fn trip(reactor: Reactor, left: u32) -> Deferred<()> {
        reactor.defer_to_thread(|| ()).add_callback(move |()| match left {
            0 => succeed(()),
            left => trip(reactor, left - 1),
        })
    }

    let reactor = Reactor::new()?;
    chain(reactor.clone(), CALLS);
    let start = Instant::now();
    reactor.run();
    let turn = start.elapsed() / CALLS;

    let reactor = Reactor::new()?;
    for _ in 0..CALLS {
        reactor.call_later(Duration::ZERO, || ());
    }
    let stop = reactor.clone();
    let start = Instant::now();
    reactor.call_later(Duration::ZERO, move || stop.stop());
    reactor.run();
    let timer = start.elapsed() / CALLS;

    let reactor = Reactor::new()?;
    let start = Instant::now();
    reactor.run_until(trip(reactor.clone(), TRIPS)).map_err(io::Error::from)?;
    let to_thread = start.elapsed() / TRIPS;

    let nanoseconds = |duration: Duration| duration.as_nanos() as u64;
    section.measure("turn_ns", nanoseconds(turn).into());
    section.measure("timer_ns", nanoseconds(timer).into());
    section.measure("defer_to_thread_ns", nanoseconds(to_thread).into());
    section.shown.push(format!("  a turn of the loop                 {:>7} ns", turn.as_nanos()));
    section
        .shown
        .push(format!("  a timer that is due, of {CALLS}      {:>7} ns", timer.as_nanos()));
    section
        .shown
        .push(format!("  to a thread and back               {:>7} ns", to_thread.as_nanos()));
    Ok(())
}
