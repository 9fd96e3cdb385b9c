//! pause: one side produces; the other pauses it, resumes it, stops it.
//! Signals stop, continue and kill a process, without help from its code.
//! Run it: cargo run -p processes -- pause

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use nix::sys::signal::Signal;

use common::workload::pause::{Counter, Paused};

use crate::multiprocessing::process;
use crate::multiprocessing::shared_memory::Shared;

pub fn run(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let made = &Shared::new([AtomicU32::new(0)]).expect("there is a page of memory left")[0];
    let (permits, mut permit) = io::pipe().expect("there are descriptors left");
    let (mut numbers, sender) = io::pipe().expect("there are descriptors left");
    let task = process::spawn(move || produce(counter, made, permits, sender));
    for _ in 0..Counter::HALF {
        permit.write_all(&[1]).expect("the producer is running");
        seen.before.push(number(&mut numbers));
    }
    task.kill(Signal::SIGSTOP).expect("it is our child");
    // Returns when the kernel has stopped it: that is the confirmation.
    assert!(task.wait_stopped().expect("it is our child"), "it has ended instead");
    // From here on it could produce more, but it does not run.
    let more = [1; Counter::HALF as usize];
    permit.write_all(&more).expect("the producer is running");
    seen.at_confirm = made.load(SeqCst);
    thread::sleep(hold);
    seen.at_resume = made.load(SeqCst);
    task.kill(Signal::SIGCONT).expect("it is our child");
    for _ in 0..Counter::HALF {
        seen.after.push(number(&mut numbers));
    }
    task.kill(Signal::SIGKILL).expect("it is our child");
    let _ = task.join();
    seen.at_end = made.load(SeqCst);
    seen
}

/// Sends a number for each permit.
fn produce(
    mut counter: Counter,
    made: &AtomicU32,
    mut permits: PipeReader,
    mut numbers: PipeWriter,
) {
    while permits.read_exact(&mut [0]).is_ok() {
        made.fetch_add(1, SeqCst);
        let number = counter.count().to_le_bytes();
        numbers.write_all(&number).expect("the controller listens");
    }
}

fn number(numbers: &mut PipeReader) -> u32 {
    let mut bytes = [0; 4];
    numbers.read_exact(&mut bytes).expect("the producer is running");
    u32::from_le_bytes(bytes)
}
