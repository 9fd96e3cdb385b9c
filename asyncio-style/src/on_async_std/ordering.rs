//! ordering: three tasks write what they do into one log.
//! All on one thread: another task runs only where this one awaits.
//! Run it: cargo run -p asyncio-style -- --loop async-std ordering

use std::cell::RefCell;
use std::rc::Rc;

use common::workload::ordering::Steps;

use super::task;

pub async fn run(all: Vec<Steps>) -> String {
    let log = Rc::new(RefCell::new(String::new()));
    let mut tasks = Vec::new();
    for steps in all {
        let log = log.clone();
        tasks.push(task::spawn_local(walk(steps, log)));
    }
    for task in tasks {
        task.await;
    }
    log.take()
}

async fn walk(mut steps: Steps, log: Rc<RefCell<String>>) {
    while let Some(step) = steps.step() {
        log.borrow_mut().push_str(&step);
        task::yield_now().await;
    }
}
