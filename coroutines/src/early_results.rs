//! early-results: take each page as it arrives, then cancel the rest.
//! A generator: it fetches the next page when the consumer asks for one, and nothing else runs.
//! Run it: cargo run -p coroutines -- early-results

use common::workload::early_results::Arrivals;
use common::workload::io_bound::{Job, Outcome};

use crate::coroutine::generators::Generator;
use crate::io_bound::fetch;

pub fn run(jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let outcomes = deliver(jobs);
    for outcome in outcomes {
        if arrivals.push(outcome).is_break() {
            break;
        }
    }
    // There is nothing to cancel: a page is not fetched before the consumer asks for it.
}

fn deliver(jobs: Vec<Job>) -> Generator<(), Outcome, ()> {
    Generator::new(|outcomes| {
        for job in jobs {
            let outcome = fetch(job);
            // Returns when the next one is wanted; an error when the consumer has stopped.
            outcomes.suspend(outcome)?;
        }
        Ok(())
    })
}
