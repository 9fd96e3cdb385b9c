//! early-results: take each page as it arrives, then cancel the rest.
//! One task per page. A task can be cancelled at any await: its socket is dropped with it.
//! Run it: cargo run -p asyncio-style -- --loop tokio early-results

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task;

use common::workload::early_results::Arrivals;
use common::workload::io_bound::{Job, Outcome};

use super::io_bound::fetch;

pub async fn run(jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let (sender, mut outcomes) = unbounded_channel();
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(task::spawn_local(deliver(job, sender.clone())));
    }
    drop(sender);
    while let Some(outcome) = outcomes.recv().await {
        if arrivals.push(outcome).is_break() {
            break;
        }
    }
    for task in tasks {
        task.abort();
        // The task has ended when this returns.
        let _ = task.await;
    }
}

async fn deliver(job: Job, outcomes: UnboundedSender<Outcome>) {
    let outcome = fetch(job).await;
    // An error means that the consumer has stopped.
    let _ = outcomes.send(outcome);
}
