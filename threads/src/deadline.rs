//! deadline: all pages, or those that arrive in time.
//! One thread per page: each of its calls waits only for the time that is left.
//! Run it: cargo run -p threads -- deadline

use std::thread;
use std::time::{Duration, Instant};

use common::workload::io_bound::{Job, Outcome};

use crate::io_bound::fetch;

pub fn run(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        // A thread cannot be stopped: each of its calls waits only for the time that is left.
        tasks.push(thread::spawn(move || fetch(job.until(deadline))));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.join().expect("fetch catches its errors"));
    }
    outcomes
}
