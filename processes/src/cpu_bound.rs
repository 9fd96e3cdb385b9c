//! cpu-bound: count primes, every count at the same time.
//! One process per count: the OS runs one on each core, and takes turns if there are more.
//! Run it: cargo run -p processes -- cpu-bound

use common::workload::cpu_bound::{Count, Counted};

use crate::multiprocessing::process;

pub fn run(counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(process::spawn(move || primes(count)));
    }
    let mut counted = Vec::new();
    for task in tasks {
        counted.push(task.join().expect("counting does not panic"));
    }
    counted
}

fn primes(mut count: Count) -> Counted {
    // No task has to yield here: the OS preempts.
    while count.slice() {}
    count.finish()
}
