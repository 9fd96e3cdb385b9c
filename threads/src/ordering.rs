//! ordering: three tasks write what they do into one log.
//! One thread per task: the OS may switch from one to another at any time.
//! Run it: cargo run -p threads -- ordering

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use common::workload::ordering::Steps;

pub fn run(all: Vec<Steps>) -> String {
    let log = Arc::new(Mutex::new(String::new()));
    let start = Arc::new(Barrier::new(all.len()));
    let mut tasks = Vec::new();
    for steps in all {
        let log = log.clone();
        let start = start.clone();
        tasks.push(thread::spawn(move || {
            // All begin together: starting a task takes longer than a step.
            start.wait();
            walk(steps, &log);
        }));
    }
    for task in tasks {
        task.join().expect("a step does not panic");
    }
    log.lock().expect("no holder panics").clone()
}

fn walk(mut steps: Steps, log: &Mutex<String>) {
    // No task has to yield here: the OS preempts.
    while let Some(step) = steps.step() {
        log.lock().expect("no holder panics").push_str(&step);
    }
}
