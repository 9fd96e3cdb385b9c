//! pause: one side produces; the other pauses it, resumes it, stops it.
//! A thread that looks at a flag can be parked, and is unparked to go on.
//! Run it: cargo run -p threads -- pause

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use common::workload::pause::{Counter, Paused};

pub fn run(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let switch = Arc::new(Switch::default());
    let (permit, permits) = channel();
    let (sender, numbers) = channel();
    let theirs = switch.clone();
    let task = thread::spawn(move || produce(counter, &theirs, &permits, &sender));
    for _ in 0..Counter::HALF {
        permit.send(()).expect("the producer is running");
        seen.before.extend(numbers.recv().expect("the producer is running"));
    }
    switch.paused.store(true, SeqCst);
    // From here on, only the flag keeps it from producing more.
    for _ in 0..Counter::HALF {
        permit.send(()).expect("the producer is running");
    }
    let confirmed = numbers.recv().expect("the producer is running");
    assert_eq!(confirmed, None, "a number despite the flag");
    seen.at_confirm = switch.made.load(SeqCst);
    thread::sleep(hold);
    seen.at_resume = switch.made.load(SeqCst);
    switch.paused.store(false, SeqCst);
    task.thread().unpark();
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.recv().expect("the producer is running"));
    }
    // It ends because there are no more permits: a thread cannot be stopped from outside.
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

/// Sends a number for each permit, or `None` to confirm that it is paused.
fn produce(
    mut counter: Counter,
    switch: &Switch,
    permits: &Receiver<()>,
    numbers: &Sender<Option<u32>>,
) {
    while permits.recv().is_ok() {
        if switch.paused.load(SeqCst) {
            numbers.send(None).expect("the controller listens");
        }
        while switch.paused.load(SeqCst) {
            thread::park();
        }
        switch.made.fetch_add(1, SeqCst);
        numbers.send(Some(counter.count())).expect("the controller listens");
    }
}
