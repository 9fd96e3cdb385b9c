//! pause: one side produces; the other pauses it, resumes it, stops it.
//! A task that looks at a flag awaits a message before it goes on.
//! Run it: cargo run -p asyncio-style -- --loop tokio pause

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task;
use tokio::time::sleep;

use common::workload::pause::{Counter, Paused};

pub async fn run(counter: Counter) -> Paused {
    let mut seen = Paused::default();
    let hold = counter.hold();
    let switch = Rc::new(Switch::default());
    let (permit, permits) = unbounded_channel();
    let (sender, mut numbers) = unbounded_channel();
    let (resume, resumed) = unbounded_channel();
    let task = task::spawn_local(produce(counter, switch.clone(), permits, resumed, sender));
    for _ in 0..Counter::HALF {
        permit.send(()).expect("the producer is running");
        seen.before.extend(numbers.recv().await.expect("the producer is running"));
    }
    switch.paused.set(true);
    // From here on, only the flag keeps it from producing more.
    for _ in 0..Counter::HALF {
        permit.send(()).expect("the producer is running");
    }
    let confirmed = numbers.recv().await;
    assert_eq!(confirmed, Some(None), "a number despite the flag");
    seen.at_confirm = switch.made.get();
    sleep(hold).await;
    seen.at_resume = switch.made.get();
    switch.paused.set(false);
    resume.send(()).expect("the producer waits");
    for _ in 0..Counter::HALF {
        seen.after.extend(numbers.recv().await.expect("the producer is running"));
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

/// Sends a number for each permit, or `None` to confirm that it is paused.
async fn produce(
    mut counter: Counter,
    switch: Rc<Switch>,
    mut permits: UnboundedReceiver<()>,
    mut resumed: UnboundedReceiver<()>,
    numbers: UnboundedSender<Option<u32>>,
) {
    while permits.recv().await.is_some() {
        if switch.paused.get() {
            numbers.send(None).expect("the controller listens");
            resumed.recv().await.expect("the controller resumes it");
        }
        switch.made.set(switch.made.get() + 1);
        numbers.send(Some(counter.count())).expect("the controller listens");
    }
}
