//! pause: one side produces; the other pauses it, resumes it, stops it.
//! A generator pauses itself: it runs no further until it is asked to.
//! Run it: cargo run -p coroutines -- pause

use std::cell::Cell;
use std::rc::Rc;

use common::workload::pause::{Counter, Paused};

use crate::coroutine::generators::Generator;
use crate::coroutine::scheduler::sleep;

pub fn run(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let made = Rc::new(Cell::new(0));
    let mut numbers = produce(counter, made.clone());
    for _ in 0..Counter::HALF {
        seen.before.extend(numbers.next());
    }
    // It has yielded, so it is paused: it runs no further until it is asked to.
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

/// Yields a number each time it is asked for one.
fn produce(mut counter: Counter, made: Rc<Cell<u32>>) -> Generator<(), u32, ()> {
    Generator::new(move |numbers| {
        loop {
            made.set(made.get() + 1);
            numbers.suspend(counter.count())?;
        }
    })
}
