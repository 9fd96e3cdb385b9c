//! Step 1: round robin. A task that yields goes to the end of the line.
//! A task is a generator, and to yield is to let the others run. Nothing can be waited for yet.
//! Run it: cargo run -p coroutines --example step-1-round-robin

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use corosensei::{Coroutine, CoroutineResult};

type Task = Coroutine<(), (), ()>;

/// Runs all tasks to their ends, turn by turn.
fn schedule(mut line: VecDeque<Task>) {
    while let Some(mut task) = line.pop_front() {
        match task.resume(()) {
            CoroutineResult::Yield(()) => line.push_back(task),
            CoroutineResult::Return(()) => {}
        }
    }
}

pub fn show() -> String {
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut line = VecDeque::new();
    for name in ["a", "b", "c"] {
        let log = log.clone();
        line.push_back(Task::new(move |yielder, ()| {
            for step in 1..=3 {
                log.borrow_mut().push(format!("{name}{step}"));
                yielder.suspend(());
            }
        }));
    }
    schedule(line);
    log.take().join(" ")
}

fn main() {
    println!("{}", show());
}
