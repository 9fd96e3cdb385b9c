//! control: cut what takes too long, and pause what runs.
//! One task a page. A task can be called off wherever it awaits; one that looks at a flag paused.
//! Run it: cargo run -p asyncio-style -- --loop tokio control

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel as unbounded;
use tokio::sync::mpsc::{UnboundedReceiver as Receiver, UnboundedSender as Sender};
use tokio::task;
use tokio::time::{Instant, sleep, timeout_at};

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
        let result = timeout_at(deadline, &mut task).await;
        if let Ok(outcome) = result {
            outcomes.push(outcome.expect("fetch catches its errors"));
        } else {
            task.abort();
            // Only when this returns is the task gone.
            let _ = task.await;
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
    let (sender, mut numbers) = unbounded();
    let (resume, resumed) = unbounded();
    let task = task::spawn_local(produce(counter, Rc::clone(&switch), permits, resumed, sender));
    for _ in 0..Counter::HALF {
        permit.send(()).expect("it counts");
        seen.before.extend(numbers.recv().await.expect("it counts"));
    }
    switch.paused.set(true);
    // From here on it could count further, but for the flag.
    for _ in 0..Counter::HALF {
        permit.send(()).expect("it counts");
    }
    let confirmed = numbers.recv().await;
    assert_eq!(confirmed, Some(None), "a number in spite of the flag");
    seen.at_confirm = switch.made.get();
    sleep(hold).await;
    seen.at_resume = switch.made.get();
    switch.paused.set(false);
    resume.send(()).expect("it waits");
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.recv().await.expect("it counts"));
    }
    task.abort();
    let _ = task.await;
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
    mut permits: Receiver<()>,
    mut resumed: Receiver<()>,
    numbers: Sender<Option<u32>>,
) {
    while permits.recv().await.is_some() {
        if switch.paused.get() {
            numbers.send(None).expect("somebody listens");
            resumed.recv().await.expect("somebody resumes");
        }
        switch.made.set(switch.made.get() + 1);
        numbers.send(Some(counter.count())).expect("somebody listens");
    }
}
