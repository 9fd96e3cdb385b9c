//! early-results: take each page the moment it is there, and call the rest off.
//! One task a page. A task can be called off wherever it awaits: its sockets are dropped with it.
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
        // Only when this returns is the task gone.
        let _ = task.await;
    }
}

async fn deliver(job: Job, outcomes: UnboundedSender<Outcome>) {
    let outcome = fetch(job).await;
    // An error means that nobody wants it any more.
    let _ = outcomes.send(outcome);
}
