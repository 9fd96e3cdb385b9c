//! ordering: three tasks write what they do into one log.
//! All on one thread: another greenlet runs only where this one waits or yields.
//! Run it: cargo run -p coroutines -- ordering

use std::cell::RefCell;
use std::rc::Rc;

use common::workload::ordering::Steps;

use crate::coroutine::scheduler;

pub fn run(all: Vec<Steps>) -> String {
    let log = Rc::new(RefCell::new(String::new()));
    let mut tasks = Vec::new();
    for steps in all {
        let log = log.clone();
        tasks.push(scheduler::spawn(move || walk(steps, &log)));
    }
    for task in tasks {
        task.join().expect("a step does not panic");
    }
    log.take()
}

fn walk(mut steps: Steps, log: &RefCell<String>) {
    while let Some(step) = steps.step() {
        log.borrow_mut().push_str(&step);
        scheduler::yield_now();
    }
}
