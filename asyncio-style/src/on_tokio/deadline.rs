//! deadline: all pages, or those that arrive in time.
//! One task per page. A task can be cancelled at any await.
//! Run it: cargo run -p asyncio-style -- --loop tokio deadline

use std::time::Duration;

use tokio::task;
use tokio::time::{Instant, timeout_at};

use common::workload::io_bound::{Job, Outcome};

use super::io_bound::fetch;

pub async fn run(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), task::spawn_local(fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, mut task) in tasks {
        let result = timeout_at(deadline, &mut task).await;
        if let Ok(outcome) = result {
            outcomes.push(outcome.expect("fetch catches its errors"));
        } else {
            task.abort();
            // The task has ended when this returns.
            let _ = task.await;
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}
