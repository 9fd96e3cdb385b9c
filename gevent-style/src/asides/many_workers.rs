//! many-workers: what `may` does with several worker threads, in a process of its own.
//! A coroutine goes on wherever a worker is free: faster, in no order, with other thread-locals.
//! Run it: cargo run -p gevent-style -- many-workers

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::registry::Flags;
use common::report::bars::{Bar, bars};
use common::report::section::Section;
use common::workload::cpu_bound::Count;
use may::coroutine::{self, JoinHandle};
use serde_json::{Value, json};

use crate::asides::apart;

/// Two workers are enough to show it, on one core too.
const WORKERS: [&str; 2] = ["1", "2"];
/// Counts of primes, each up to this number.
const COUNTS: usize = 4;
const BELOW: u64 = 300_000;
/// How many times the order of the tasks is recorded.
const RUNS: usize = 20;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    match WORKERS.map(|workers| apart::run("many-workers", workers)) {
        [Ok(one), Ok(two)] => show(&mut section, &one, &two),
        [Err(error), _] | [_, Err(error)] => {
            section.wrong = Some(error.to_string());
        }
    }
    section
}

fn show(section: &mut Section, one: &Value, two: &Value) {
    if one["primes"] != two["primes"] {
        section.wrong = Some("one worker and two counted differently".into());
    }
    section
        .answer
        .push(format!("{COUNTS} counts of {} primes on 1 worker and on 2", one["primes"]));
    section
        .answer
        .push(format!("orders of three tasks in {RUNS} runs on 1 worker: {}", one["orders"]));
    let seconds = |seen: &Value| seen["seconds"].as_f64().unwrap_or_default();
    let cores =
        |seen: &Value| format!("{:.2} cores in use", seen["cores"].as_f64().unwrap_or_default());
    section.shown = bars(&[
        Bar::new("1 worker", seconds(one), &cores(one)),
        Bar::new("2 workers", seconds(two), &cores(two)),
    ]);
    section.shown.extend([
        "                                                1 worker   2 workers".to_string(),
        row("orders of three tasks in 20 runs", "orders", one, two),
        row("threads a task was seen on, at most", "threads", one, two),
        row("the same, with a timed call of may", "threads_after_sleep", one, two),
        "  A task that changes threads finds another thread's locals and another errno."
            .to_string(),
        "  So: one worker, and a hub that does all timing. That is what gevent has.".to_string(),
    ]);
    section.measure("one", one.clone());
    section.measure("two", two.clone());
}

fn row(what: &str, key: &str, one: &Value, two: &Value) -> String {
    format!("  {what:<43} {:>8} {:>11}", one[key].to_string(), two[key].to_string())
}

/// What one program with this many workers sees.
pub fn measure(workers: &str) -> Value {
    may::config().set_workers(workers.parse().unwrap_or(1)).set_stack_size(0x8000);
    may::config().set_worker_pin(false);
    // The first count would otherwise include the start of the workers.
    join(spawn(|| ()));
    let cpu = common::machine::cpu_seconds();
    let start = Instant::now();
    let counted: Vec<u64> = join_all((0..COUNTS).map(|task| spawn(move || primes(task))));
    let seconds = start.elapsed().as_secs_f64();
    let orders: BTreeSet<String> = (0..RUNS).map(|_| order()).collect();
    json!({
        "primes": counted.first(),
        "seconds": seconds,
        "cores": (common::machine::cpu_seconds() - cpu) / seconds,
        "orders": orders.len(),
        "threads": threads_seen(coroutine::yield_now),
        "threads_after_sleep": threads_seen(|| coroutine::sleep(Duration::from_millis(1))),
    })
}

#[expect(unsafe_code, reason = "may::coroutine::spawn is unsafe")]
fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: the closures keep nothing of a thread across a switch, and need little stack.
    unsafe { coroutine::spawn(f) }
}

fn join<T>(task: JoinHandle<T>) -> T {
    task.join().expect("no task here panics")
}

fn join_all<T>(tasks: impl Iterator<Item = JoinHandle<T>>) -> Vec<T> {
    let tasks: Vec<_> = tasks.collect();
    tasks.into_iter().map(join).collect()
}

fn primes(task: usize) -> u64 {
    let mut count = Count::new(task, BELOW);
    while count.slice() {
        coroutine::yield_now();
    }
    count.finish().primes
}

/// Three tasks write their letters, and yield after each.
fn order() -> String {
    let log = Arc::new(Mutex::new(String::new()));
    let tasks = ['a', 'b', 'c'].map(|letter| {
        let log = Arc::clone(&log);
        move || {
            for _ in 0..8 {
                let mut work = Count::new(0, 5_000);
                while work.slice() {}
                log.lock().expect("no holder panics").push(letter);
                coroutine::yield_now();
            }
        }
    });
    // A task spawns them: if they were spawned from outside, the first could run ahead.
    join(spawn(move || drop(join_all(tasks.into_iter().map(spawn)))));
    let log = log.lock().expect("no holder panics");
    log.clone()
}

/// On how many different threads a task runs, at most, if it checks after each switch.
fn threads_seen(switch: fn()) -> usize {
    let look = move || {
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let mut work = Count::new(0, 5_000);
            while work.slice() {}
            seen.insert(thread_id());
            switch();
        }
        seen.len()
    };
    join_all((0..8).map(|_| spawn(look))).into_iter().max().unwrap_or(0)
}

#[expect(unsafe_code, reason = "gettid")]
fn thread_id() -> i32 {
    // SAFETY: takes no pointer.
    unsafe { libc::gettid() }
}
