//! deadline: all pages, or those that arrive in time.
//! One greenlet per page. A greenlet can be closed where it waits.
//! Run it: cargo run -p coroutines -- deadline

use std::time::{Duration, Instant};

use common::workload::io_bound::{Job, Outcome};

use crate::coroutine::scheduler;
use crate::coroutine::wait::wait;
use crate::io_bound::fetch;

pub fn run(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), scheduler::spawn(move || fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, task) in tasks {
        if wait(task.done(), deadline).is_ok() {
            outcomes.push(task.join().expect("fetch catches its errors"));
        } else {
            // Its stack is unwound: its socket is closed when this returns.
            task.close();
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}
