//! ordering: three tasks write what they do into one log.
//! All on one thread: whose turn it is changes only where a task awaits.
//! Run it: cargo run -p asyncio-style -- --loop tokio ordering

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task;

use common::workload::ordering::Steps;

pub async fn run(all: Vec<Steps>) -> String {
    let log = Rc::new(RefCell::new(String::new()));
    let mut tasks = Vec::new();
    for steps in all {
        let log = log.clone();
        tasks.push(task::spawn_local(walk(steps, log)));
    }
    for task in tasks {
        task.await.expect("a step does not panic");
    }
    log.take()
}

async fn walk(mut steps: Steps, log: Rc<RefCell<String>>) {
    while let Some(step) = steps.step() {
        log.borrow_mut().push_str(&step);
        // Predictable, but not in line: tokio wakes those who yielded last first.
        task::yield_now().await;
    }
}
