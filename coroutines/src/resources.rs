//! resources: what a task costs: memory, starting it, switching to it.
//! One greenlet per task, all on one thread: each has a stack, and a switch needs no kernel.
//! Run it: cargo run -p coroutines -- resources

use std::cell::Cell;
use std::rc::Rc;

use common::workload::resources::Meter;

use crate::coroutine::scheduler::{self, try_spawn, yield_now};
use crate::coroutine::sync::{Event, Receiver, Sender, channel};

pub fn idle(n: usize, meter: &mut Meter) {
    let gate = Rc::new(Event::new());
    let arrived = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    meter.begin();
    for _ in 0..n {
        let (gate, arrived) = (gate.clone(), arrived.clone());
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
    let (first, mut inbox) = channel();
    let mut tasks = Vec::new();
    for _ in 1..n {
        let (outbox, next) = channel();
        tasks.push(scheduler::spawn(move || pass(&inbox, &outbox)));
        inbox = next;
    }
    let mut token = 0;
    for _ in 0..laps {
        first.send(token + 1).expect("the ring is unbroken");
        token = inbox.recv().expect("the ring is unbroken");
    }
    // Closing the first channel ends the tasks one by one.
    drop(first);
    for task in tasks {
        task.join().expect("passing it on does not panic");
    }
    token
}

fn pass(inbox: &Receiver<usize>, outbox: &Sender<usize>) {
    while let Ok(token) = inbox.recv() {
        outbox.send(token + 1).expect("the ring is unbroken");
    }
}
