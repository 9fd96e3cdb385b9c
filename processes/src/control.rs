//! control: cut what takes too long, and pause what runs.
//! One process a page. Signals stop, continue and kill a process that knows nothing of it.
//! Run it: cargo run -p processes -- control

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use common::workload::control::{Counter, Paused};
use common::workload::io_bound::{Job, Outcome};

use crate::io_bound::fetch;
use crate::multiprocessing::child::retry;
use crate::multiprocessing::process::{self, Process};
use crate::multiprocessing::shared_memory::Shared;

pub fn deadline(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), process::spawn(move || fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, task) in tasks {
        if finished(&task, deadline) {
            outcomes.push(task.join().expect("fetch catches its errors"));
        } else {
            task.kill(Signal::SIGKILL).expect("it is our child");
            // Only when this returns is the process gone.
            let _ = task.join();
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}

/// Waits for the end of a process, until the deadline at most.
fn finished(task: &Process<Outcome>, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let mut result = [PollFd::new(task.as_fd(), PollFlags::POLLIN)];
    retry(|| poll(&mut result, left)).expect("a pipe can be polled") > 0
}

pub fn pause(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let made = &Shared::new([AtomicU32::new(0)]).expect("there is a page of memory left")[0];
    let (permits, mut permit) = io::pipe().expect("there are descriptors left");
    let (mut numbers, sender) = io::pipe().expect("there are descriptors left");
    let task = process::spawn(move || produce(counter, made, permits, sender));
    for _ in 0..Counter::HALF {
        permit.write_all(&[1]).expect("it counts");
        seen.before.push(number(&mut numbers));
    }
    task.kill(Signal::SIGSTOP).expect("it is our child");
    // Returns when the kernel has stopped it: that is the confirmation.
    assert!(task.wait_stopped().expect("it is our child"), "it has ended instead");
    // From here on it could count further, but it does not run.
    permit.write_all(&[1; Counter::HALF as usize]).expect("it counts");
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

/// A number for each permit.
fn produce(
    mut counter: Counter,
    made: &AtomicU32,
    mut permits: PipeReader,
    mut numbers: PipeWriter,
) {
    while permits.read_exact(&mut [0]).is_ok() {
        made.fetch_add(1, SeqCst);
        let number = counter.count().to_le_bytes();
        numbers.write_all(&number).expect("somebody listens");
    }
}

fn number(numbers: &mut PipeReader) -> u32 {
    let mut bytes = [0; 4];
    numbers.read_exact(&mut bytes).expect("it counts");
    u32::from_le_bytes(bytes)
}
