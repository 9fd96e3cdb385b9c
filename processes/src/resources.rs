//! resources: what a task costs: memory, starting it, switching to it.
//! One process per task: the OS copies the page tables for each, and switches between them.
//! Run it: cargo run -p processes -- resources

use std::io::{self, PipeReader, PipeWriter, Read, Write};

use common::workload::resources::Meter;

use crate::multiprocessing::process::{self, try_spawn};

pub fn idle(n: usize, meter: &mut Meter) {
    let (gate, mut opened) = io::pipe().expect("there are descriptors left");
    let (mut arrivals, sender) = io::pipe().expect("there are descriptors left");
    let mut tasks = Vec::new();
    meter.begin();
    for _ in 0..n {
        match try_spawn(|| wait(&gate, &sender)) {
            Ok(task) => tasks.push(task),
            Err(error) => {
                meter.refused(&error);
                break;
            }
        }
    }
    for _ in &tasks {
        arrivals.read_exact(&mut [0]).expect("every task arrives");
    }
    meter.waiting();
    // A byte for each task. Closing is not enough: every task has a copy of this end.
    opened.write_all(&vec![0; tasks.len()]).expect("they wait");
    let mut finished = 0;
    for task in tasks {
        finished += task.join().expect("waiting does not panic");
    }
    meter.finished(finished);
}

fn wait(mut gate: &PipeReader, mut arrivals: &PipeWriter) -> usize {
    arrivals.write_all(&[0]).expect("the arrivals are counted");
    gate.read_exact(&mut [0]).expect("the gate opens");
    1
}

pub fn ring(n: usize, laps: usize) -> usize {
    let (mut inbox, mut first) = io::pipe().expect("there are descriptors left");
    let mut tasks = Vec::new();
    for _ in 1..n {
        let (next, outbox) = io::pipe().expect("there are descriptors left");
        tasks.push(process::spawn(move || pass(laps, inbox, outbox)));
        inbox = next;
    }
    let mut token = 0;
    for _ in 0..laps {
        send(&mut first, token + 1);
        token = receive(&mut inbox);
    }
    for task in tasks {
        task.join().expect("passing it on does not panic");
    }
    token
}

fn pass(laps: usize, mut inbox: PipeReader, mut outbox: PipeWriter) {
    for _ in 0..laps {
        let token = receive(&mut inbox);
        send(&mut outbox, token + 1);
    }
}

fn send(outbox: &mut PipeWriter, token: usize) {
    outbox.write_all(&token.to_le_bytes()).expect("the ring is unbroken");
}

fn receive(inbox: &mut PipeReader) -> usize {
    let mut bytes = [0; size_of::<usize>()];
    inbox.read_exact(&mut bytes).expect("the ring is unbroken");
    usize::from_le_bytes(bytes)
}
