//! resources: what a task costs: memory, starting it, switching to it.
//! One greenlet a task, all on one thread: each has a stack, and a switch needs no kernel.
//! Run it: cargo run -p coroutines -- resources

use std::cell::Cell;
use std::rc::Rc;

use common::workload::resources::Meter;

use crate::coroutine::scheduler::{self, Event, Handle, park, try_spawn, yield_now};

pub fn idle(n: usize, meter: &mut Meter) {
    let gate = Rc::new(Event::new());
    let arrived = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    meter.begin();
    for _ in 0..n {
        let (gate, arrived) = (Rc::clone(&gate), Rc::clone(&arrived));
        match try_spawn(move || wait(&gate, &arrived)) {
            Ok(task) => tasks.push(task),
            Err(error) => {
                meter.refused(&error);
                break;
            }
        }
    }
    while arrived.get() < tasks.len() {
        yield_now();
    }
    meter.waiting();
    gate.set();
    let mut finished = 0;
    for task in tasks {
        finished += task.join().expect("waiting does not panic");
    }
    meter.finished(finished);
}

fn wait(gate: &Event, arrived: &Cell<usize>) -> usize {
    arrived.set(arrived.get() + 1);
    gate.wait().expect("the gate opens");
    1
}

pub fn ring(n: usize, laps: usize) -> usize {
    let token = Rc::new(Cell::new(0));
    let mut next = scheduler::current();
    let mut tasks = Vec::new();
    for _ in 1..n {
        let (token, after) = (Rc::clone(&token), next);
        let task = scheduler::spawn(move || pass(laps, &token, &after));
        next = task.handle();
        tasks.push(task);
    }
    pass_first(laps, &token, &next);
    for task in tasks {
        task.join().expect("passing it on does not panic");
    }
    token.get()
}

fn pass_first(laps: usize, token: &Cell<usize>, next: &Handle) {
    for _ in 0..laps {
        token.set(token.get() + 1);
        next.unpark();
        park().expect("the ring is closed");
    }
}

fn pass(laps: usize, token: &Cell<usize>, next: &Handle) {
    for _ in 0..laps {
        park().expect("the ring is closed");
        token.set(token.get() + 1);
        next.unpark();
    }
}
