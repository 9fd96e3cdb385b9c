//! early-results: take each page as it arrives, then cancel the rest.
//! One task per page. A task can be cancelled at any await: its socket is dropped with it.
//! Run it: cargo run -p asyncio-style -- --loop smol early-results

use smol::channel::{Sender, unbounded};

use common::workload::early_results::Arrivals;
use common::workload::io_bound::{Job, Outcome};

use super::io_bound::fetch;
use super::task;

pub async fn run(jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let (sender, outcomes) = unbounded();
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(task::spawn_local(deliver(job, sender.clone())));
    }
    drop(sender);
    while let Ok(outcome) = outcomes.recv().await {
        if arrivals.push(outcome).is_break() {
            break;
        }
    }
    for task in tasks {
        // The task has ended when this returns.
        task.cancel().await;
    }
}

async fn deliver(job: Job, outcomes: Sender<Outcome>) {
    let outcome = fetch(job).await;
    // An error means that the consumer has stopped.
    let _ = outcomes.send(outcome).await;
}
