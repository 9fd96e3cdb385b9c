//! deadline: all pages, or those that arrive in time.
//! One Deferred per page, with a timeout that cancels it.
//! Run it: cargo run -p twisted-style -- deadline

use std::time::Duration;

use common::workload::io_bound::{Job, Outcome};

use crate::io_bound::fetch;
use crate::twisted::failure::TimeoutError;
use crate::twisted::gather::gather_results;
use crate::twisted::reactor::Reactor;

pub fn run(reactor: &Reactor, jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        // The timeout cancels the Deferred, and its canceller aborts the connection.
        let task = fetch(reactor, job.clone());
        let task = task.add_timeout(limit, reactor);
        tasks.push(task.add_errback(move |failure| {
            failure.trap::<TimeoutError>()?;
            Ok(job.timed_out())
        }));
    }
    let outcomes = reactor.run_until(gather_results(tasks));
    outcomes.expect("fetch catches its errors")
}
