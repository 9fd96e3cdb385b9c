//! io-bound: fetch every page at the same time.
//! One protocol per page, all on one thread: the reactor calls it when something has happened.
//! Run it: cargo run -p twisted-style -- io-bound

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::vec::IntoIter;

use common::http::get::Get;
use common::workload::io_bound::{Job, Outcome};

use crate::twisted::defer::{Deferred, Resolver, succeed};
use crate::twisted::gather::gather_results;
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::Reactor;
use crate::twisted::transport::Transport;

pub fn run(reactor: &Reactor, jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(fetch(reactor, job));
    }
    let outcomes = reactor.run_until(gather_results(tasks));
    outcomes.expect("fetch catches its errors")
}

pub fn fetch(reactor: &Reactor, job: Job) -> Deferred<Outcome> {
    let get = Get::new(job);
    let result = exchange(reactor, get);
    result.add_callback(|(get, result)| Ok(get.outcome(result)))
}

/// A page and how its exchange ended.
type Ended = (Get, io::Result<()>);

fn exchange(reactor: &Reactor, get: Get) -> Deferred<Ended> {
    let (done, result) = Deferred::new();
    let (address, patience) = (get.address(), get.patience().unwrap_or_default());
    let connection = reactor.connect_tcp(address, Page(Some((get, done))), patience);
    result.with_canceller(move || connection.disconnect())
}

/// A page on its way, and whom to tell when it has arrived.
struct Page(Option<(Get, Resolver<Ended>)>);

impl Protocol for Page {
    fn connection_made(&mut self, socket: &Transport) {
        let Some((get, _)) = &self.0 else { return };
        // What is left of the page's time, for all of it: no byte that drips in starts it anew.
        socket.set_timeout(Some(get.patience().unwrap_or_default()));
        socket.write(get.request());
    }

    fn data_received(&mut self, socket: &Transport, buf: &[u8]) {
        let Some((get, _)) = &mut self.0 else { return };
        let result = get.received(buf);
        if result.is_err() || !get.wants_more() {
            socket.lose_connection();
            self.finish(result);
        }
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        let Some((get, _)) = &mut self.0 else { return };
        let result = reason.and_then(|()| get.received(&[]));
        self.finish(result);
    }
}

impl Page {
    fn finish(&mut self, result: io::Result<()>) {
        if let Some((get, done)) = self.0.take() {
            done.callback((get, result));
        }
    }
}

/// The same with `at_once` workers that take their jobs from one queue.
pub fn bounded(reactor: &Reactor, jobs: Vec<Job>, at_once: usize) -> Vec<Outcome> {
    let queue = Rc::new(RefCell::new(jobs.into_iter()));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let queue = queue.clone();
        tasks.push(work(reactor, queue, Vec::new()));
    }
    let outcomes = reactor.run_until(gather_results(tasks));
    let mut outcomes = outcomes.expect("fetch catches its errors").concat();
    outcomes.sort_by_key(|outcome: &Outcome| outcome.task);
    outcomes
}

fn work(
    reactor: &Reactor,
    queue: Rc<RefCell<IntoIter<Job>>>,
    mut outcomes: Vec<Outcome>,
) -> Deferred<Vec<Outcome>> {
    // No lock: nothing else runs until this returns.
    let job = queue.borrow_mut().next();
    let Some(job) = job else { return succeed(outcomes) };
    let reactor = reactor.clone();
    // A callback that returns a Deferred is how Twisted says "and then": the loop is a chain.
    fetch(&reactor, job).add_callback(move |outcome| {
        outcomes.push(outcome);
        work(&reactor, queue, outcomes)
    })
}
