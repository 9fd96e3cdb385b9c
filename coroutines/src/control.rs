//! control: cut what takes too long, and pause what runs.
//! One greenlet a page. A greenlet can be closed where it waits; a generator is paused by itself.
//! Run it: cargo run -p coroutines -- control

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::workload::control::{Counter, Paused};
use common::workload::io_bound::{Job, Outcome};

use crate::coroutine::generators::Generator;
use crate::coroutine::scheduler::{self, sleep, wait};
use crate::io_bound::fetch;

pub fn deadline(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), scheduler::spawn(move || fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, task) in tasks {
        if wait(task.done(), deadline).is_ok() {
            outcomes.push(task.join().expect("fetch catches its errors"));
        } else {
            // Its stack is unwound: its socket is closed when this returns.
            task.close();
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}

pub fn pause(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let made = Rc::new(Cell::new(0));
    let mut numbers = produce(counter, Rc::clone(&made));
    for _ in 0..Counter::HALF {
        seen.before.extend(numbers.next());
    }
    // It has yielded, and that is its pause: it runs no further until it is asked to.
    seen.at_confirm = made.get();
    sleep(hold);
    seen.at_resume = made.get();
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.next());
    }
    numbers.close().expect("it ends where it has yielded");
    seen.at_end = made.get();
    seen
}

/// A number each time it is asked for one.
fn produce(mut counter: Counter, made: Rc<Cell<u32>>) -> Generator<(), u32, ()> {
    Generator::new(move |numbers| {
        loop {
            made.set(made.get() + 1);
            numbers.suspend(counter.count())?;
        }
    })
}
