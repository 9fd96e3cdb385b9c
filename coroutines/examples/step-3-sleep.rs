//! Step 3: timers. A task that sleeps leaves the queue until its time has come.
//! When the queue is empty, the thread itself sleeps until the first of them: the waits overlap.
//! Run it: cargo run -p coroutines --example step-3-sleep

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};

enum Request {
    Turn,
    Sleep(Duration),
}

type Task = Coroutine<(), Request, ()>;

fn schedule(mut line: VecDeque<Task>) {
    let mut timers: BTreeMap<(Instant, usize), Task> = BTreeMap::new();
    let mut slept = 0;
    loop {
        while let Some(mut task) = line.pop_front() {
            match task.resume(()) {
                CoroutineResult::Yield(Request::Turn) => line.push_back(task),
                CoroutineResult::Yield(Request::Sleep(time)) => {
                    slept += 1; // the first to fall asleep wakes first
                    timers.insert((Instant::now() + time, slept), task);
                }
                CoroutineResult::Return(()) => {}
            }
        }
        let Some(first) = timers.first_entry() else {
            return;
        };
        let (deadline, _) = *first.key();
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        while let Some(first) = timers.first_entry()
            && first.key().0 <= Instant::now()
        {
            line.push_back(first.remove());
        }
    }
}

pub fn show() -> String {
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut line = VecDeque::new();
    for ms in [30, 10, 20] {
        let log = log.clone();
        line.push_back(Task::new(move |yielder, ()| {
            yielder.suspend(Request::Turn);
            yielder.suspend(Request::Sleep(Duration::from_millis(ms)));
            log.borrow_mut().push(format!("{ms}ms"));
        }));
    }
    schedule(line);
    log.take().join(" ")
}

fn main() {
    println!("{}", show());
}
