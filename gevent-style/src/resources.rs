//! resources: what a task costs: memory, starting it, switching to it.
//! One greenlet per task, all on one thread: each has a stack, and a switch needs no kernel.
//! Run it: cargo run -p gevent-style -- resources

use std::sync::{Arc, RwLock};

use may::sync::mpsc::{Receiver, Sender, channel};

use common::workload::resources::Meter;

use crate::gevent::greenlet::{self, try_spawn};

pub fn idle(n: usize, meter: &mut Meter) {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().expect("no holder panics");
    let (sender, arrivals) = channel();
    let mut tasks = Vec::new();
    meter.begin();
    for _ in 0..n {
        let (gate, sender) = (gate.clone(), sender.clone());
        match try_spawn(move || wait(&gate, &sender)) {
            Ok(task) => tasks.push(task),
            Err(error) => {
                meter.refused(&error);
                break;
            }
        }
    }
    for _ in &tasks {
        arrivals.recv().expect("every task arrives");
    }
    meter.waiting();
    drop(closed);
    let mut finished = 0;
    for task in tasks {
        finished += task.join().expect("waiting does not panic");
    }
    meter.finished(finished);
}

fn wait(gate: &RwLock<()>, arrivals: &Sender<()>) -> usize {
    arrivals.send(()).expect("the arrivals are counted");
    let _passed = gate.read().expect("no holder panics");
    1
}

pub fn ring(n: usize, laps: usize) -> usize {
    let (first, mut inbox) = channel();
    let mut tasks = Vec::new();
    for _ in 1..n {
        let (outbox, next) = channel();
        tasks.push(greenlet::spawn(move || pass(&inbox, &outbox)));
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
