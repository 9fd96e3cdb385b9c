//! Step 2: requests. A task yields what it wants, and is sent the answer.
//! So tasks can start others and wait for their ends: system calls, one switch each.
//! Run it: cargo run -p coroutines --example step-2-join

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use corosensei::{Coroutine, CoroutineResult};

enum Request {
    Turn,
    Spawn(Task),
    Join(usize),
}

/// The answer is a task's number: the one spawned, or the one joined.
type Task = Coroutine<usize, Request, ()>;

fn schedule(main: Task) {
    let mut line = VecDeque::from([(0, main, 0)]);
    let mut spawned = 1;
    let mut ended = HashSet::new();
    let mut joining: HashMap<usize, Vec<(usize, Task)>> = HashMap::new();
    while let Some((number, mut task, answer)) = line.pop_front() {
        match task.resume(answer) {
            CoroutineResult::Yield(Request::Turn) => line.push_back((number, task, 0)),
            CoroutineResult::Yield(Request::Spawn(new)) => {
                line.push_back((spawned, new, 0));
                line.push_front((number, task, spawned)); // the spawner goes on
                spawned += 1;
            }
            CoroutineResult::Yield(Request::Join(other)) if ended.contains(&other) => {
                line.push_back((number, task, other));
            }
            CoroutineResult::Yield(Request::Join(other)) => {
                joining.entry(other).or_default().push((number, task));
            }
            CoroutineResult::Return(()) => {
                ended.insert(number);
                for (waiter, task) in joining.remove(&number).unwrap_or_default() {
                    line.push_back((waiter, task, number));
                }
            }
        }
    }
}

pub fn show() -> String {
    let log = Rc::new(RefCell::new(Vec::new()));
    let out = log.clone();
    schedule(Task::new(move |yielder, _| {
        let mut tasks = Vec::new();
        for name in ["a", "b"] {
            let log = log.clone();
            let task = Task::new(move |yielder, _| {
                for step in 1..=2 {
                    log.borrow_mut().push(format!("{name}{step}"));
                    yielder.suspend(Request::Turn);
                }
            });
            tasks.push(yielder.suspend(Request::Spawn(task)));
        }
        for task in tasks {
            yielder.suspend(Request::Join(task));
            log.borrow_mut().push(format!("joined-{task}"));
        }
    }));
    out.take().join(" ")
}

fn main() {
    println!("{}", show());
}
