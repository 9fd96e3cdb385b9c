//! early-results: take each page as it arrives, then cancel the rest.
//! One greenlet per page. A greenlet can be killed: the call it waits in fails.
//! Run it: cargo run -p gevent-style -- early-results

use may::sync::mpsc::{Sender, channel};

use common::workload::early_results::Arrivals;
use common::workload::io_bound::{Job, Outcome};

use crate::gevent::greenlet;
use crate::io_bound::fetch;

pub fn run(jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let (sender, outcomes) = channel();
    let mut tasks = Vec::new();
    for job in jobs {
        let sender = sender.clone();
        tasks.push(greenlet::spawn(move || deliver(job, &sender)));
    }
    drop(sender);
    while let Ok(outcome) = outcomes.recv() {
        if arrivals.push(outcome).is_break() {
            break;
        }
    }
    for task in tasks {
        task.kill();
        // The task has ended when this returns.
        let _ = task.join();
    }
}

fn deliver(job: Job, outcomes: &Sender<Outcome>) {
    let outcome = fetch(job);
    // An error means that the consumer has stopped.
    let _ = outcomes.send(outcome);
}
