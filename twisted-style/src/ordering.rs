//! ordering: three tasks write what they do into one log.
//! All on one thread: another task runs only when a callback has returned to the reactor.
//! Run it: cargo run -p twisted-style -- ordering

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::workload::ordering::Steps;

use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::gather::gather_results;
use crate::twisted::reactor::Reactor;

pub fn run(reactor: &Reactor, all: Vec<Steps>) -> String {
    let log = Rc::new(RefCell::new(String::new()));
    let mut tasks = Vec::new();
    for steps in all {
        let (done, task) = Deferred::new();
        walk(reactor.clone(), steps, log.clone(), done);
        tasks.push(task);
    }
    let ended = reactor.run_until(gather_results(tasks));
    ended.expect("a step does not panic");
    log.take()
}

fn walk(reactor: Reactor, mut steps: Steps, log: Rc<RefCell<String>>, done: Resolver<()>) {
    let Some(step) = steps.step() else { return done.callback(()) };
    log.borrow_mut().push_str(&step);
    let again = reactor.clone();
    reactor.call_later(Duration::ZERO, || walk(again, steps, log, done));
}
