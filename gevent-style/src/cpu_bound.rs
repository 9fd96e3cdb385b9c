//! cpu-bound: count primes, every count at the same time.
//! One greenlet per count, all on one thread: no faster, and no other runs until one yields.
//! Run it: cargo run -p gevent-style -- cpu-bound

use std::thread;

use common::workload::cpu_bound::{Count, Counted};

use crate::gevent::greenlet;
use crate::gevent::helpers::offload;

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

/// The same in threads of the hub's pool: as fast as the cores allow.
pub fn thread_pool(counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(greenlet::spawn(move || offload(|| preempted_primes(count))));
    }
    let mut counted = Vec::new();
    for task in tasks {
        counted.push(task.join().expect("counting does not panic"));
    }
    counted
}

fn preempted_primes(mut count: Count) -> Counted {
    // No task has to yield here: the OS preempts.
    while count.slice() {}
    count.finish()
}
