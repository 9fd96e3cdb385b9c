//! What a switch of the ring in `resources.rs` is made of, in steps from two bare stack switches.
//! Run it: cargo run --release -p coroutines --example switch

use std::array;
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use corosensei::Coroutine;

#[path = "../src/coroutine/mod.rs"]
#[expect(dead_code, unused_imports, reason = "a part of the machinery is measured")]
mod coroutine;

use coroutine::scheduler;
use coroutine::sync::{Receiver, Sender, channel};

const TASKS: usize = 10;
const LAPS: usize = 100_000;
const RUNS: usize = 9;

type Stack = Coroutine<(), (), ()>;

fn main() {
    let steps: [(&str, fn()); 6] = [
        ("one stack: there and back", one_stack),
        ("ten stacks by turns", ten_stacks),
        ("ten stacks, taken from a queue", from_a_queue),
        ("ten tasks that yield", yielding_tasks),
        ("ten tasks in a ring of channels", ring),
        ("a channel alone: send, receive, no wait", channel_alone),
    ];
    println!(
        "ns per switch: fastest, median and slowest of {RUNS} runs; fastest, compared with above"
    );
    let mut before = 0.0;
    for (n, (name, step)) in steps.iter().enumerate() {
        let mut nanoseconds: [f64; RUNS] = array::from_fn(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_secs_f64() * 1e9 / (TASKS * LAPS) as f64
        });
        nanoseconds.sort_by(f64::total_cmp);
        let (low, median, high) = (nanoseconds[0], nanoseconds[RUNS / 2], nanoseconds[RUNS - 1]);
        // The last one is a part of the step before it, not a step of its own.
        let is_step = n > 0 && n + 1 < steps.len();
        let more = if is_step { format!("  {:+6.1}", low - before) } else { String::new() };
        println!("  {name:<40} {low:6.1} {median:6.1} {high:6.1}{more}");
        before = low;
    }
}

fn endless() -> Stack {
    Stack::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    })
}

fn one_stack() {
    let mut stack = endless();
    for _ in 0..TASKS * LAPS {
        black_box(stack.resume(()));
    }
}

fn ten_stacks() {
    let mut stacks: [Stack; TASKS] = array::from_fn(|_| endless());
    for _ in 0..LAPS {
        for stack in &mut stacks {
            black_box(stack.resume(()));
        }
    }
}

fn from_a_queue() {
    let mut queue: VecDeque<Stack> = (0..TASKS).map(|_| endless()).collect();
    for _ in 0..TASKS * LAPS {
        let mut stack = queue.pop_front().expect("there are ten");
        black_box(stack.resume(()));
        queue.push_back(stack);
    }
}

fn yielding_tasks() {
    scheduler::run(|| {
        let spin = || (0..LAPS).for_each(|_| scheduler::yield_now());
        let tasks: Vec<_> = (0..TASKS).map(|_| scheduler::spawn(spin)).collect();
        for task in tasks {
            task.join().expect("it only yields");
        }
    });
}

fn ring() {
    scheduler::run(|| {
        let (first, mut inbox) = channel();
        for _ in 1..TASKS {
            let (outbox, next) = channel();
            scheduler::spawn(move || pass(&inbox, &outbox));
            inbox = next;
        }
        for token in 0..LAPS {
            first.send(token).expect("the ring is unbroken");
            inbox.recv().expect("the ring is unbroken");
        }
    });
}

fn pass(inbox: &Receiver<usize>, outbox: &Sender<usize>) {
    while let Ok(token) = inbox.recv() {
        outbox.send(token).expect("the ring is unbroken");
    }
}

fn channel_alone() {
    scheduler::run(|| {
        let (sender, receiver) = channel();
        for token in 0..TASKS * LAPS {
            sender.send(token).expect("it is received below");
            black_box(receiver.recv().expect("it was sent"));
        }
    });
}
