//! deadline: all pages, or those that arrive in time.
//! One task per page. A task can be cancelled at any await.
//! Run it: cargo run -p asyncio-style -- --loop smol deadline

use std::time::{Duration, Instant};

use smol::future::FutureExt;

use common::workload::io_bound::{Job, Outcome};

use super::io_bound::fetch;
use super::{late, task};

pub async fn run(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), task::spawn_local(fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, mut task) in tasks {
        let finished = async { Ok((&mut task).await) };
        let result = finished.or(late(deadline)).await;
        if let Ok(outcome) = result {
            outcomes.push(outcome);
        } else {
            // The task has ended when this returns.
            task.cancel().await;
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}
