//! interactivity: a heart beats while a count goes on.
//! One process each: the OS takes the core from the count whenever a beat is due.
//! Run it: cargo run -p processes -- interactivity

use std::thread;

use common::workload::cpu_bound::{Count, Counted};
use common::workload::interactivity::{Beats, Heart};

use crate::multiprocessing::process;

/// Never offers the core. The heart still beats.
pub fn careless(count: Count, heart: Heart) -> Beats {
    let heart = process::spawn(move || beat(heart));
    let count = process::spawn(move || primes(count));
    let counted = count.join().expect("counting does not panic");
    let heart = heart.join().expect("a heart does not panic");
    heart.finish(counted)
}

/// Offers the core after each slice. No difference: processes need no care of this kind.
pub fn careful(count: Count, heart: Heart) -> Beats {
    let heart = process::spawn(move || beat(heart));
    let count = process::spawn(move || yielding_primes(count));
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

fn yielding_primes(mut count: Count) -> Counted {
    while count.slice() {
        thread::yield_now();
    }
    count.finish()
}
