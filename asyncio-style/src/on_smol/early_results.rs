//! early-results: take each page the moment it is there, and call the rest off.
//! One task a page. A task can be called off wherever it awaits: its sockets are dropped with it.
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
        // Only when this returns is the task gone.
        task.cancel().await;
    }
}

async fn deliver(job: Job, outcomes: Sender<Outcome>) {
    let outcome = fetch(job).await;
    // An error means that nobody wants it any more.
    let _ = outcomes.send(outcome).await;
}
