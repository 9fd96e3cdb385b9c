//! cpu-bound: count primes, every count at the same time.
//! One task a count, all on one thread: no faster, and nobody else runs unless a task yields.
//! Run it: cargo run -p asyncio-style -- --loop smol cpu-bound

use common::workload::cpu_bound::{Count, Counted};

use super::task;

pub async fn run(counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(task::spawn_local(primes(count)));
    }
    let mut counted = Vec::new();
    for task in tasks {
        counted.push(task.await);
    }
    counted
}

async fn primes(mut count: Count) -> Counted {
    while count.slice() {
        task::yield_now().await;
    }
    count.finish()
}
