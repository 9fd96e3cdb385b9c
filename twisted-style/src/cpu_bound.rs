//! cpu-bound: count primes, every count at the same time.
//! One thread of the reactor's pool per count: a count on the reactor's thread would block it.
//! Run it: cargo run -p twisted-style -- cpu-bound

use common::workload::cpu_bound::{Count, Counted};

use crate::twisted::gather::gather_results;
use crate::twisted::reactor::Reactor;

pub fn run(reactor: &Reactor, counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(reactor.defer_to_thread(move || Ok(primes(count))));
    }
    let counted = reactor.run_until(gather_results(tasks));
    counted.expect("counting does not panic")
}

fn primes(mut count: Count) -> Counted {
    // No task has to yield here: the OS preempts.
    while count.slice() {}
    count.finish()
}
