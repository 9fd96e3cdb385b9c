//! ordering: three tasks write what they do into one log.
//! One process per task: the OS may switch from one to another at any time.
//! Run it: cargo run -p processes -- ordering

use std::io::{self, PipeWriter, Read, Write};

use common::workload::ordering::Steps;

use crate::multiprocessing::process;
use crate::multiprocessing::shared_memory::SharedBarrier;

pub fn run(all: Vec<Steps>) -> String {
    let (mut log, writer) = io::pipe().expect("there are descriptors left");
    let start = SharedBarrier::new(all.len()).expect("there is a page of memory left");
    let mut tasks = Vec::new();
    for steps in all {
        tasks.push(process::spawn(|| {
            // All begin together: starting a task takes longer than a step.
            start.wait();
            walk(steps, &writer);
        }));
    }
    for task in tasks {
        task.join().expect("a step does not panic");
    }
    drop(writer); // otherwise the log would never end
    let mut written = String::new();
    log.read_to_string(&mut written).expect("the log is text");
    written
}

fn walk(mut steps: Steps, mut log: &PipeWriter) {
    // No task has to yield here: the OS preempts.
    while let Some(step) = steps.step() {
        // A write of less than a page goes into a pipe in one piece.
        log.write_all(step.as_bytes()).expect("the parent reads it");
    }
}
