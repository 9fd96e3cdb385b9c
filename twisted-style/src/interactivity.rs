//! interactivity: a heart beats while a count goes on.
//! All on one thread: until a callback returns, the reactor calls no other.
//! Run it: cargo run -p twisted-style -- interactivity

use std::time::Duration;

use common::workload::cpu_bound::{Count, Counted};
use common::workload::interactivity::{Beats, Heart};

use crate::twisted::defer::{Deferred, succeed};
use crate::twisted::reactor::Reactor;

/// Blocks the reactor: no callback is called while another one counts.
pub fn careless(reactor: &Reactor, count: Count, heart: Heart) -> Beats {
    let heart = beat(reactor.clone(), heart);
    let turn = reactor.defer_later(Duration::ZERO);
    let count = turn.add_callback(|()| Ok(primes(count)));
    let beats = count.add_callback(|counted| both(heart, counted));
    let beats = reactor.run_until(beats);
    beats.expect("counting does not panic")
}

/// The same call in a thread of the reactor's pool.
pub fn careful(reactor: &Reactor, count: Count, heart: Heart) -> Beats {
    let heart = beat(reactor.clone(), heart);
    let count = reactor.defer_to_thread(|| Ok(primes(count)));
    let beats = count.add_callback(|counted| both(heart, counted));
    let beats = reactor.run_until(beats);
    beats.expect("counting does not panic")
}

fn both(heart: Deferred<Heart>, counted: Counted) -> Deferred<Beats> {
    heart.add_callback(|heart| Ok(heart.finish(counted)))
}

fn beat(reactor: Reactor, mut heart: Heart) -> Deferred<Heart> {
    if !heart.beat() {
        return succeed(heart);
    }
    let pause = reactor.defer_later(heart.pause());
    pause.add_callback(|()| beat(reactor, heart))
}

fn primes(mut count: Count) -> Counted {
    while count.slice() {}
    count.finish()
}
