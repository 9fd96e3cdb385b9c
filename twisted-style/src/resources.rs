//! resources: what a task costs: memory, starting it, switching to it.
//! One Deferred with a callback per task: no stack at all, and a switch is a call.
//! Run it: cargo run -p twisted-style -- resources

use common::workload::resources::Meter;

use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::gather::gather_results;
use crate::twisted::locks::DeferredQueue;
use crate::twisted::reactor::Reactor;

pub fn idle(reactor: &Reactor, n: usize, meter: &mut Meter) {
    let mut gate = Vec::new();
    let mut tasks = Vec::new();
    meter.begin();
    for _ in 0..n {
        let (opened, task) = wait();
        gate.push(opened);
        tasks.push(task);
    }
    meter.waiting();
    reactor.call_when_running(|| {
        for opened in gate {
            opened.callback(());
        }
    });
    let finished = reactor.run_until(gather_results(tasks));
    meter.finished(finished.expect("waiting does not fail").iter().sum());
}

fn wait() -> (Resolver<()>, Deferred<usize>) {
    let (opened, gate) = Deferred::new();
    (opened, gate.add_callback(|()| Ok(1)))
}

pub fn ring(reactor: &Reactor, n: usize, laps: usize) -> usize {
    let first = DeferredQueue::new();
    let mut inbox = first.clone();
    for _ in 1..n {
        let outbox = DeferredQueue::new();
        pass(laps, inbox, outbox.clone());
        inbox = outbox;
    }
    let (home, token) = Deferred::new();
    reactor.call_when_running(move || pass_first(laps, 0, inbox, first, home));
    reactor.run_until(token).expect("passing it on does not fail")
}

type Queue = DeferredQueue<usize>;

fn pass_first(laps: usize, token: usize, inbox: Queue, outbox: Queue, home: Resolver<usize>) {
    if laps == 0 {
        return home.callback(token);
    }
    outbox.put(token + 1).expect("the queue has no limit");
    let received = inbox.get();
    drop(received.add_callback(move |token| pass_first(laps - 1, token, inbox, outbox, home)));
}

fn pass(laps: usize, inbox: Queue, outbox: Queue) {
    if laps == 0 {
        return;
    }
    let received = inbox.get();
    // A loop: each turn is a callback of the previous turn.
    drop(received.add_callback(move |token| {
        outbox.put(token + 1).expect("the queue has no limit");
        pass(laps - 1, inbox, outbox);
    }));
}
