//! interactivity: a heart beats while a count goes on.
//! All on one thread: as long as a greenlet does not yield, no other can run.
//! Run it: cargo run -p coroutines -- interactivity

use common::workload::cpu_bound::{Count, Counted};
use common::workload::interactivity::{Beats, Heart};

use crate::coroutine::scheduler;

/// Never offers the thread. The heart does not beat.
pub fn careless(count: Count, heart: Heart) -> Beats {
    let heart = scheduler::spawn(move || beat(heart));
    let count = scheduler::spawn(move || primes(count));
    let counted = count.join().expect("counting does not panic");
    let heart = heart.join().expect("a heart does not panic");
    heart.finish(counted)
}

/// Offers the thread after each slice.
pub fn careful(count: Count, heart: Heart) -> Beats {
    let heart = scheduler::spawn(move || beat(heart));
    let count = scheduler::spawn(move || yielding_primes(count));
    let counted = count.join().expect("counting does not panic");
    let heart = heart.join().expect("a heart does not panic");
    heart.finish(counted)
}

fn beat(mut heart: Heart) -> Heart {
    while heart.beat() {
        scheduler::sleep(heart.pause());
    }
    heart
}

fn primes(mut count: Count) -> Counted {
    while count.slice() {}
    count.finish()
}

fn yielding_primes(mut count: Count) -> Counted {
    while count.slice() {
        scheduler::yield_now();
    }
    count.finish()
}
