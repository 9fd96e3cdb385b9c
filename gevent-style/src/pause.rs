//! pause: one side produces; the other pauses it, resumes it, stops it.
//! A greenlet that looks at a flag waits on a condition variable, patched.
//! Run it: cargo run -p gevent-style -- pause

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use may::sync::mpsc::{Sender, channel};

use common::workload::pause::{Counter, Paused};

use crate::gevent::greenlet;

pub fn run(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let switch = Arc::new(Switch::default());
    let (mut permit, permits) = UnixStream::pair().expect("there are descriptors left");
    let (sender, numbers) = channel();
    let theirs = switch.clone();
    let task = greenlet::spawn(move || produce(counter, &theirs, permits, &sender));
    for _ in 0..Counter::HALF {
        permit.write_all(&[1]).expect("the producer is running");
        seen.before.extend(numbers.recv().expect("the producer is running"));
    }
    *switch.paused.lock().expect("no holder panics") = true;
    // From here on, only the flag keeps it from producing more.
    let more = [1; Counter::HALF as usize];
    permit.write_all(&more).expect("the producer is running");
    let confirmed = numbers.recv().expect("the producer is running");
    assert_eq!(confirmed, None, "a number despite the flag");
    seen.at_confirm = switch.made.load(SeqCst);
    thread::sleep(hold);
    seen.at_resume = switch.made.load(SeqCst);
    *switch.paused.lock().expect("no holder panics") = false;
    switch.resumed.notify_one();
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.recv().expect("the producer is running"));
    }
    task.kill();
    task.join().expect("a killed read is an error, not a panic");
    seen.at_end = switch.made.load(SeqCst);
    seen
}

#[derive(Default)]
struct Switch {
    paused: Mutex<bool>,
    resumed: Condvar,
    made: AtomicU32,
}

/// Sends a number for each permit, or `None` to confirm that it is paused.
fn produce(
    mut counter: Counter,
    switch: &Switch,
    mut permits: UnixStream,
    numbers: &Sender<Option<u32>>,
) {
    while permits.read_exact(&mut [0]).is_ok() {
        let mut paused = switch.paused.lock().expect("no holder panics");
        if *paused {
            numbers.send(None).expect("the controller listens");
        }
        while *paused {
            paused = switch.resumed.wait(paused).expect("no holder panics");
        }
        switch.made.fetch_add(1, SeqCst);
        numbers.send(Some(counter.count())).expect("the controller listens");
    }
}
