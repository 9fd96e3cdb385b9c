//! many-threads: tokio's multi-threaded runtime, its advantage and its price.
//! The tasks of one loop are spread over several threads: faster, but in no order.
//! Run it: cargo run -p asyncio-style -- many-threads

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use common::machine::cpu_seconds;
use common::registry::Flags;
use common::report::bars::{Bar, bars};
use common::report::section::Section;
use common::report::stats::Times;
use common::report::timeline::draw;
use common::workload::cpu_bound::{Count, Counted};
use serde_json::json;
use tokio::runtime::Builder;

use crate::on_tokio;

/// Two are enough to show it, on one core too.
const WORKERS: usize = 2;

/// How many times the order of the tasks is recorded.
const RUNS: usize = 20;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    let (mut one, mut many) = (Times::default(), Times::default());
    let cpu = cpu_seconds();
    let on_one = one.time(|| on_tokio::run(on_tokio::cpu_bound::run(counts())));
    let cores_of_one = (cpu_seconds() - cpu) / one.median();
    let cpu = cpu_seconds();
    let on_many = many.time(|| on_threads(count_all(counts())));
    let cores_of_many = (cpu_seconds() - cpu) / many.median();
    let primes = |counted: &[Counted]| counted.iter().map(|c| c.primes).collect::<Vec<_>>();
    if primes(&on_one) != primes(&on_many) {
        section.wrong = Some("the two runtimes counted differently".into());
    }
    section.answer.push(format!(
        "{} counts of {} primes on both",
        on_many.len(),
        on_many[0].primes
    ));
    let orders = |order: fn() -> String| (0..RUNS).map(|_| order()).collect::<BTreeSet<_>>();
    let (ordered, unordered) = (orders(order_on_one), orders(order_on_many));
    section
        .answer
        .push(format!("orders of three tasks in {RUNS} runs on one thread: {}", ordered.len()));
    section.shown = bars(&[
        Bar::new("one thread", one.median(), &format!("{cores_of_one:.2} cores in use")),
        Bar::new("two threads", many.median(), &format!("{cores_of_many:.2} cores in use")),
    ]);
    section.shown.extend(draw(&on_many.into_iter().flat_map(|c| c.spans).collect::<Vec<_>>()));
    section.shown.push(format!("  orders in {RUNS} runs on two threads: {}", unordered.len()));
    for order in ordered.iter().take(1).chain(unordered.iter().take(2)) {
        section.shown.push(format!("    {order}"));
    }
    section.measure("orders", json!({"one": ordered.len(), "many": unordered.len()}));
    section.measure("cores", json!({"one": cores_of_one, "many": cores_of_many}));
    section
}

fn counts() -> Vec<Count> {
    (0..4).map(|task| Count::new(task, 500_000)).collect()
}

/// `asyncio.run`, but on several threads: a spawned task must be `Send`, as any thread may run it.
fn on_threads<T>(main: impl Future<Output = T>) -> T {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    runtime.expect("the machine has two threads left").block_on(main)
}

async fn count_all(counts: Vec<Count>) -> Vec<Counted> {
    let mut tasks = Vec::new();
    for count in counts {
        tasks.push(tokio::spawn(primes(count)));
    }
    let mut counted = Vec::new();
    for task in tasks {
        counted.push(task.await.expect("counting does not panic"));
    }
    counted
}

async fn primes(mut count: Count) -> Counted {
    while count.slice() {
        tokio::task::yield_now().await;
    }
    count.finish()
}

/// Three tasks write their letters: on one thread, into a plain string.
fn order_on_one() -> String {
    on_tokio::run(async {
        let log = Rc::new(RefCell::new(String::new()));
        let mut tasks = Vec::new();
        for letter in ['a', 'b', 'c'] {
            let log = Rc::clone(&log);
            tasks.push(tokio::task::spawn_local(async move {
                for _ in 0..8 {
                    work();
                    log.borrow_mut().push(letter);
                    tokio::task::yield_now().await;
                }
            }));
        }
        for task in tasks {
            task.await.expect("writing does not panic");
        }
        log.take()
    })
}

/// The same on two threads: the string needs a lock, or it does not compile.
fn order_on_many() -> String {
    on_threads(async {
        let log = Arc::new(Mutex::new(String::new()));
        let mut tasks = Vec::new();
        for letter in ['a', 'b', 'c'] {
            let log = Arc::clone(&log);
            tasks.push(tokio::spawn(async move {
                for _ in 0..8 {
                    work();
                    log.lock().expect("no holder panics").push(letter);
                    tokio::task::yield_now().await;
                }
            }));
        }
        for task in tasks {
            task.await.expect("writing does not panic");
        }
        std::mem::take(&mut *log.lock().expect("no holder panics"))
    })
}

/// A little computing, so that the threads have time to meet.
fn work() {
    let mut count = Count::new(0, 5_000);
    while count.slice() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_has_one_order() {
        let first = order_on_one();
        assert_eq!(first.len(), 24);
        assert!((0..RUNS).all(|_| order_on_one() == first));
    }

    #[test]
    fn on_many_threads_each_task_still_does_its_own_steps() {
        for _ in 0..RUNS {
            let order = order_on_many();
            for letter in ['a', 'b', 'c'] {
                assert_eq!(order.matches(letter).count(), 8, "{order}");
            }
        }
    }
}
