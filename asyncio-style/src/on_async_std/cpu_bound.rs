//! cpu-bound: count primes, every count at the same time.
//! One task per count, all on one thread: no faster, and no other runs until a task yields.
//! Run it: cargo run -p asyncio-style -- --loop async-std cpu-bound

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

/// The same in threads of the loop's pool: as fast as the cores allow.
pub async fn thread_pool(counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(task::spawn_blocking(move || preempted_primes(count)));
    }
    let mut counted = Vec::new();
    for task in tasks {
        counted.push(task.await);
    }
    counted
}

fn preempted_primes(mut count: Count) -> Counted {
    // No task has to yield here: the OS preempts.
    while count.slice() {}
    count.finish()
}
