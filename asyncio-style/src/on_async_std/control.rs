//! control: cut what takes too long, and pause what runs.
//! One task a page. A task can be called off wherever it awaits; one that looks at a flag paused.
//! Run it: cargo run -p asyncio-style -- --loop async-std control

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_std::channel::{Receiver, Sender, unbounded};
use async_std::future::timeout;
use async_std::task::{self, sleep};

use common::workload::control::{Counter, Paused};
use common::workload::io_bound::{Job, Outcome};

use super::io_bound::fetch;

pub async fn deadline(jobs: Vec<Job>, limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push((job.clone(), task::spawn_local(fetch(job))));
    }
    let mut outcomes = Vec::new();
    for (job, mut task) in tasks {
        let left = deadline.saturating_duration_since(Instant::now());
        let result = timeout(left, &mut task).await;
        if let Ok(outcome) = result {
            outcomes.push(outcome);
        } else {
            // Only when this returns is the task gone.
            task.cancel().await;
            outcomes.push(job.timed_out());
        }
    }
    outcomes
}

pub async fn pause(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let switch = Rc::new(Switch::default());
    let (permit, permits) = unbounded();
    let (sender, numbers) = unbounded();
    let (resume, resumed) = unbounded();
    let task = task::spawn_local(produce(counter, Rc::clone(&switch), permits, resumed, sender));
    for _ in 0..Counter::HALF {
        permit.send(()).await.expect("it counts");
        seen.before.extend(numbers.recv().await.expect("it counts"));
    }
    switch.paused.set(true);
    // From here on it could count further, but for the flag.
    for _ in 0..Counter::HALF {
        permit.send(()).await.expect("it counts");
    }
    let confirmed = numbers.recv().await;
    assert_eq!(confirmed, Ok(None), "a number in spite of the flag");
    seen.at_confirm = switch.made.get();
    sleep(hold).await;
    seen.at_resume = switch.made.get();
    switch.paused.set(false);
    resume.send(()).await.expect("it waits");
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.recv().await.expect("it counts"));
    }
    task.cancel().await;
    seen.at_end = switch.made.get();
    seen
}

#[derive(Default)]
struct Switch {
    paused: Cell<bool>,
    made: Cell<u32>,
}

/// A number for each permit; nothing instead of one to say that it is paused.
async fn produce(
    mut counter: Counter,
    switch: Rc<Switch>,
    permits: Receiver<()>,
    resumed: Receiver<()>,
    numbers: Sender<Option<u32>>,
) {
    while permits.recv().await.is_ok() {
        if switch.paused.get() {
            numbers.send(None).await.expect("somebody listens");
            resumed.recv().await.expect("somebody resumes");
        }
        switch.made.set(switch.made.get() + 1);
        numbers.send(Some(counter.count())).await.expect("somebody listens");
    }
}
