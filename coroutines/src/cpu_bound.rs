//! cpu-bound: count primes, every count at the same time.
//! One greenlet per count, all on one thread: no faster, and no other runs until one yields.
//! Run it: cargo run -p coroutines -- cpu-bound

use common::workload::cpu_bound::{Count, Counted};

use crate::coroutine::scheduler;

pub fn run(counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(scheduler::spawn(move || primes(count)));
    }
    let mut counted = Vec::new();
    for task in tasks {
        counted.push(task.join().expect("counting does not panic"));
    }
    counted
}

fn primes(mut count: Count) -> Counted {
    while count.slice() {
        scheduler::yield_now();
    }
    count.finish()
}
