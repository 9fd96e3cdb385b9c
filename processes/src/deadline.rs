//! deadline: all pages, or those that arrive in time.
//! One process per page. A signal kills a process, without help from its code.
//! Run it: cargo run -p processes -- deadline

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use common::workload::io_bound::{Job, Outcome};

use crate::io_bound::fetch;
use crate::multiprocessing::child::retry;
use crate::multiprocessing::process::{self, Process};

pub fn run(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), process::spawn(move || fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, task) in tasks {
        if finished(&task, deadline) {
            outcomes.push(task.join().expect("fetch catches its errors"));
        } else {
            task.kill(Signal::SIGKILL).expect("it is our child");
            // The process has ended when this returns.
            let _ = task.join();
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}

/// Whether the process ends before the deadline: waits until then.
fn finished(task: &Process<Outcome>, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let mut result = [PollFd::new(task.as_fd(), PollFlags::POLLIN)];
    retry(|| poll(&mut result, left)).expect("a pipe can be polled") > 0
}
