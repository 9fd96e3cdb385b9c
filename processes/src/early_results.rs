//! early-results: take each page as it arrives, then cancel the rest.
//! One process per page. A process can be killed at any point: its sockets close with it.
//! Run it: cargo run -p processes -- early-results

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use common::workload::early_results::Arrivals;
use common::workload::io_bound::{Job, Outcome};

use crate::io_bound::fetch;
use crate::multiprocessing::child::retry;
use crate::multiprocessing::process::{self, Process};

pub fn run(jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(process::spawn(move || fetch(job)));
    }
    while !tasks.is_empty() {
        let task = tasks.swap_remove(first_finished(&tasks));
        let outcome = task.join().expect("fetch catches its errors");
        if arrivals.push(outcome).is_break() {
            break;
        }
    }
    for task in tasks {
        task.kill(Signal::SIGKILL).expect("it is our child");
        // The process has ended when this returns; its result is no longer wanted.
        let _ = task.join();
    }
}

fn first_finished(tasks: &[Process<Outcome>]) -> usize {
    let mut results = Vec::new();
    for task in tasks {
        results.push(PollFd::new(task.as_fd(), PollFlags::POLLIN));
    }
    retry(|| poll(&mut results, PollTimeout::NONE)).expect("pipes can be polled");
    let first = results.iter().position(|result| result.any() == Some(true));
    first.expect("without a timeout poll returns when one is readable")
}
