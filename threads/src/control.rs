//! control: cut what takes too long, and pause what runs.
//! One thread a page, told in advance when to give up; one that looks at a flag can be parked.
//! Run it: cargo run -p threads -- control

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::workload::control::{Counter, Paused};
use common::workload::io_bound::{Job, Outcome};

use crate::io_bound::fetch;

pub fn deadline(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        // No thread can be stopped: each of its calls waits for what is left of the time only.
        tasks.push(thread::spawn(move || fetch(job.until(deadline))));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.join().expect("fetch catches its errors"));
    }
    outcomes
}

pub fn pause(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let switch = Arc::new(Switch::default());
    let (permit, permits) = channel();
    let (sender, numbers) = channel();
    let theirs = Arc::clone(&switch);
    let task = thread::spawn(move || produce(counter, &theirs, &permits, &sender));
    for _ in 0..Counter::HALF {
        permit.send(()).expect("it counts");
        seen.before.extend(numbers.recv().expect("it counts"));
    }
    switch.paused.store(true, SeqCst);
    // From here on it could count further, but for the flag.
    for _ in 0..Counter::HALF {
        permit.send(()).expect("it counts");
    }
    let confirmed = numbers.recv().expect("it counts");
    assert_eq!(confirmed, None, "a number in spite of the flag");
    seen.at_confirm = switch.made.load(SeqCst);
    thread::sleep(hold);
    seen.at_resume = switch.made.load(SeqCst);
    switch.paused.store(false, SeqCst);
    task.thread().unpark();
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.recv().expect("it counts"));
    }
    // It ends because there will be no more permits: a thread ends only if it agrees.
    drop(permit);
    task.join().expect("counting does not panic");
    seen.at_end = switch.made.load(SeqCst);
    seen
}

#[derive(Default)]
struct Switch {
    paused: AtomicBool,
    made: AtomicU32,
}

/// A number for each permit; nothing instead of one to say that it is paused.
fn produce(
    mut counter: Counter,
    switch: &Switch,
    permits: &Receiver<()>,
    numbers: &Sender<Option<u32>>,
) {
    while permits.recv().is_ok() {
        if switch.paused.load(SeqCst) {
            numbers.send(None).expect("somebody listens");
        }
        while switch.paused.load(SeqCst) {
            thread::park();
        }
        switch.made.fetch_add(1, SeqCst);
        numbers.send(Some(counter.count())).expect("somebody listens");
    }
}
