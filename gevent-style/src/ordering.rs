//! ordering: three tasks write what they do into one log.
//! All on one thread: another greenlet runs only where this one waits or yields.
//! Run it: cargo run -p gevent-style -- ordering

use std::sync::{Arc, Mutex};
use std::thread;

use common::workload::ordering::Steps;

use crate::gevent::greenlet;

pub fn run(all: Vec<Steps>) -> String {
    let log = Arc::new(Mutex::new(String::new()));
    let mut tasks = Vec::new();
    for steps in all {
        let log = log.clone();
        tasks.push(greenlet::spawn(move || walk(steps, &log)));
    }
    for task in tasks {
        task.join().expect("a step does not panic");
    }
    log.lock().expect("no holder panics").clone()
}

fn walk(mut steps: Steps, log: &Mutex<String>) {
    while let Some(step) = steps.step() {
        log.lock().expect("no holder panics").push_str(&step);
        thread::yield_now();
    }
}
