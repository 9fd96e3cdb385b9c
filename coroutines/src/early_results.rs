//! early-results: take each page the moment it is there, and call the rest off.
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
    // There is nothing to call off: a page that nobody has asked for has not been asked for here.
}

fn deliver(jobs: Vec<Job>) -> Generator<(), Outcome, ()> {
    Generator::new(|outcomes| {
        for job in jobs {
            let outcome = fetch(job);
            // Returns when the next one is wanted; an error when that will never be.
            outcomes.suspend(outcome)?;
        }
        Ok(())
    })
}
