//! early-results: take each page as it arrives, then cancel the rest.
//! One Deferred per page. A Deferred can be cancelled: its canceller aborts the connection.
//! Run it: cargo run -p twisted-style -- early-results

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;

use common::workload::early_results::Arrivals;
use common::workload::io_bound::{Job, Outcome};

use crate::io_bound::fetch;
use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::gather::{gather_results, race};
use crate::twisted::reactor::Reactor;

pub fn run(reactor: &Reactor, jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let (enough, had_enough) = Deferred::new();
    // A callback owns what it uses: the arrivals move in, and out again at the end.
    let consumer = Rc::new(Consumer {
        arrivals: RefCell::new(mem::take(arrivals)),
        enough: Cell::new(Some(enough)),
    });
    let mut tasks = Vec::new();
    for job in jobs {
        let consumer = consumer.clone();
        let task = fetch(reactor, job);
        tasks.push(task.add_callback(move |outcome| consumer.take(outcome)));
    }
    let all = gather_results(tasks).add_callback(|_| ());
    // The first to fire cancels the other: `had_enough` cancels the pages under way.
    let ended = race(vec![all, had_enough]);
    reactor.run_until(ended).expect("fetch catches its errors");
    *arrivals = consumer.arrivals.take();
}

struct Consumer {
    arrivals: RefCell<Arrivals>,
    enough: Cell<Option<Resolver<()>>>,
}

impl Consumer {
    fn take(&self, outcome: Outcome) {
        if self.arrivals.borrow_mut().push(outcome).is_break()
            && let Some(enough) = self.enough.take()
        {
            enough.callback(());
        }
    }
}
