//! resources: what a task costs: memory, starting it, switching to it.
//! All on one thread: a task has no stack, it keeps only what it needs across an `.await`.
//! Run it: cargo run -p asyncio-style -- --loop async-std resources

use std::cell::Cell;
use std::rc::Rc;

use async_std::channel::{Receiver, Sender, unbounded};
use async_std::sync::RwLock;

use common::workload::resources::Meter;

use super::task;

pub async fn idle(n: usize, meter: &mut Meter) {
    let gate = Rc::new(RwLock::new(()));
    let closed = gate.write().await;
    let arrived = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    meter.begin();
    for _ in 0..n {
        let (gate, arrived) = (gate.clone(), arrived.clone());
        tasks.push(task::spawn_local(wait(gate, arrived)));
    }
    while arrived.get() < tasks.len() {
        task::yield_now().await;
    }
    meter.waiting();
    drop(closed);
    let mut finished = 0;
    for task in tasks {
        finished += task.await;
    }
    meter.finished(finished);
}

async fn wait(gate: Rc<RwLock<()>>, arrived: Rc<Cell<usize>>) -> usize {
    arrived.set(arrived.get() + 1);
    let _passed = gate.read().await;
    1
}

pub async fn ring(n: usize, laps: usize) -> usize {
    let (first, mut inbox) = unbounded();
    let mut tasks = Vec::new();
    for _ in 1..n {
        let (outbox, next) = unbounded();
        tasks.push(task::spawn_local(pass(inbox, outbox)));
        inbox = next;
    }
    let mut token = 0;
    for _ in 0..laps {
        first.send(token + 1).await.expect("the ring is unbroken");
        token = inbox.recv().await.expect("the ring is unbroken");
    }
    // Closing the first channel ends the tasks one by one.
    drop(first);
    for task in tasks {
        task.await;
    }
    token
}

async fn pass(inbox: Receiver<usize>, outbox: Sender<usize>) {
    while let Ok(token) = inbox.recv().await {
        outbox.send(token + 1).await.expect("the ring is unbroken");
    }
}
