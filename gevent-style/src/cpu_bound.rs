//! cpu-bound: count primes, every count at the same time.
//! One greenlet a count, all on one thread: no faster, and nobody else runs unless one yields.
//! Run it: cargo run -p gevent-style -- cpu-bound

use std::thread;

use common::workload::cpu_bound::{Count, Counted};

use crate::gevent::greenlet;

pub fn run(counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(greenlet::spawn(move || primes(count)));
    }
    let mut counted = Vec::new();
    for task in tasks {
        counted.push(task.join().expect("counting does not panic"));
    }
    counted
}

fn primes(mut count: Count) -> Counted {
    while count.slice() {
        thread::yield_now();
    }
    count.finish()
}
