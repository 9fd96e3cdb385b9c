//! control: cut what takes too long, and pause what runs.
//! One greenlet a page. A greenlet can be killed: the call it waits in fails.
//! Run it: cargo run -p gevent-style -- control

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use may::sync::mpsc::{Sender, channel};

use common::workload::control::{Counter, Paused};
use common::workload::io_bound::{Job, Outcome};

use crate::gevent::greenlet;
use crate::io_bound::fetch;

pub fn deadline(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), greenlet::spawn(move || fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, task) in tasks {
        if task.wait(Some(deadline)) {
            outcomes.push(task.join().expect("fetch catches its errors"));
        } else {
            task.kill();
            // Only when this returns is the task gone.
            let _ = task.join();
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}

pub fn pause(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let switch = Arc::new(Switch::default());
    let (mut permit, permits) = UnixStream::pair().expect("there are descriptors left");
    let (sender, numbers) = channel();
    let theirs = Arc::clone(&switch);
    let task = greenlet::spawn(move || produce(counter, &theirs, permits, &sender));
    for _ in 0..Counter::HALF {
        permit.write_all(&[1]).expect("it counts");
        seen.before.extend(numbers.recv().expect("it counts"));
    }
    *switch.paused.lock().expect("nobody panics") = true;
    // From here on it could count further, but for the flag.
    permit.write_all(&[1; Counter::HALF as usize]).expect("it counts");
    let confirmed = numbers.recv().expect("it counts");
    assert_eq!(confirmed, None, "a number in spite of the flag");
    seen.at_confirm = switch.made.load(SeqCst);
    thread::sleep(hold);
    seen.at_resume = switch.made.load(SeqCst);
    *switch.paused.lock().expect("nobody panics") = false;
    switch.resumed.notify_one();
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.recv().expect("it counts"));
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

/// A number for each permit; nothing instead of one to say that it is paused.
fn produce(
    mut counter: Counter,
    switch: &Switch,
    mut permits: UnixStream,
    numbers: &Sender<Option<u32>>,
) {
    while permits.read_exact(&mut [0]).is_ok() {
        let mut paused = switch.paused.lock().expect("nobody panics");
        if *paused {
            numbers.send(None).expect("somebody listens");
        }
        while *paused {
            paused = switch.resumed.wait(paused).expect("nobody panics");
        }
        switch.made.fetch_add(1, SeqCst);
        numbers.send(Some(counter.count())).expect("somebody listens");
    }
}
