//! deadline: all pages, or those that arrive in time.
//! One greenlet per page. A greenlet can be killed: the call it waits in fails.
//! Run it: cargo run -p gevent-style -- deadline

use std::time::{Duration, Instant};

use common::workload::io_bound::{Job, Outcome};

use crate::gevent::greenlet;
use crate::io_bound::fetch;

pub fn run(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), greenlet::spawn(move || fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, task) in tasks {
        if task.wait(Some(deadline)) {
            outcomes.push(task.join().expect("fetch catches its errors"));
        } else {
            task.kill();
            // The task has ended when this returns.
            let _ = task.join();
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}
