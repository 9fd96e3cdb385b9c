//! interactivity: a heart beats while a count goes on.
//! All on one thread: as long as a greenlet does not wait, the hub cannot wake another.
//! Run it: cargo run -p gevent-style -- interactivity

use std::thread;

use common::workload::cpu_bound::{Count, Counted};
use common::workload::interactivity::{Beats, Heart};

use crate::gevent::greenlet;
use crate::gevent::helpers::offload;

/// Never offers the thread. The heart does not beat.
pub fn careless(count: Count, heart: Heart) -> Beats {
    let heart = greenlet::spawn(move || beat(heart));
    let count = greenlet::spawn(move || primes(count));
    let counted = count.join().expect("counting does not panic");
    let heart = heart.join().expect("a heart does not panic");
    heart.finish(counted)
}

/// The same call in a thread of the hub's pool.
pub fn careful(count: Count, heart: Heart) -> Beats {
    let heart = greenlet::spawn(move || beat(heart));
    let count = greenlet::spawn(move || offload(|| primes(count)));
    let counted = count.join().expect("counting does not panic");
    let heart = heart.join().expect("a heart does not panic");
    heart.finish(counted)
}

fn beat(mut heart: Heart) -> Heart {
    while heart.beat() {
        thread::sleep(heart.pause());
    }
    heart
}

fn primes(mut count: Count) -> Counted {
    while count.slice() {}
    count.finish()
}
