//! rayon-pool: the pool one would use. Work stealing, and why no task should block in it.
//! Each worker takes from its own queue; a worker whose queue is empty steals from another.
//! Run it: cargo run -p threads -- rayon-pool

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder, current_thread_index};
use serde_json::json;

use common::registry::Flags;
use common::report::bars::{Bar, bars};
use common::report::section::Section;
use common::report::stats::Times;
use common::report::timeline;
use common::span::Span;
use common::workload::cpu_bound::{Count, Counted};

use super::limit::no_thread;

/// Workers of the pool: two are enough to show everything, on one core too.
const WORKERS: usize = 2;

/// Tasks, each a little longer than the previous one.
const TASKS: usize = 16;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = show(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn show(section: &mut Section) -> io::Result<()> {
    let pool = ThreadPoolBuilder::new().num_threads(WORKERS).build();
    let pool = pool.map_err(|error| no_thread(io::Error::other(error)))?;
    let (mut halves, mut stealing) = (Times::default(), Times::default());
    let by_hand = halves.time(|| in_halves(&pool));
    let stolen = stealing.time(|| by_stealing(&pool));
    for (task, (one, other)) in by_hand.iter().zip(&stolen).enumerate() {
        if one.1.primes != other.1.primes {
            section.wrong = Some(format!("task {task} counted differently"));
        }
    }
    let primes: u64 = stolen.iter().map(|(_, counted)| counted.primes).sum();
    section.answer.push(format!("{TASKS} tasks of unequal size: {primes} primes in all"));
    let crossed =
        stolen.iter().enumerate().filter(|(task, (worker, _))| *worker != task * WORKERS / TASKS);
    let crossed = crossed.count();
    let waited = blocked(&pool)?;
    let say = |ran| if ran { "ran" } else { "could not run" };
    section.answer.push(format!("all workers blocked: the task they wait for {}", say(waited)));
    section.answer.push(format!(
        "blocked elsewhere: the task they wait for {}",
        say(blocked_elsewhere(&pool)?)
    ));
    section.shown = bars(&[
        Bar::new("in two halves", halves.median(), "the second is longer"),
        Bar::new("by stealing", stealing.median(), "a free worker takes on"),
    ]);
    section.shown.push("  in two halves".into());
    section.shown.extend(timeline::draw(&lanes(&by_hand)));
    section.shown.push(format!("  by stealing: {crossed} of {TASKS} tasks ran outside their half"));
    section.shown.extend(timeline::draw(&lanes(&stolen)));
    section.measure("in_halves_s", json!(halves.median()));
    section.measure("by_stealing_s", json!(stealing.median()));
    section.measure("outside_their_half", json!(crossed));
    section.spans = lanes(&stolen);
    Ok(())
}

/// One half of the tasks for each worker, as one would divide them by hand.
fn in_halves(pool: &ThreadPool) -> Vec<(usize, Counted)> {
    let half = |from: usize, to: usize| (from..to).map(count).collect::<Vec<_>>();
    pool.install(|| {
        let (mut first, second) = rayon::join(|| half(0, TASKS / 2), || half(TASKS / 2, TASKS));
        first.extend(second);
        first
    })
}

/// One task at a time, for the first worker that is free.
fn by_stealing(pool: &ThreadPool) -> Vec<(usize, Counted)> {
    pool.install(|| (0..TASKS).into_par_iter().with_max_len(1).map(count).collect())
}

fn count(task: usize) -> (usize, Counted) {
    let mut count = Count::new(task, (task as u64 + 1) * 25_000);
    while count.slice() {}
    (current_thread_index().unwrap_or(0), count.finish())
}

/// One lane per worker instead of one per task.
fn lanes(counted: &[(usize, Counted)]) -> Vec<Span> {
    let of_worker = |(worker, counted): &(usize, Counted)| {
        let mut spans = counted.spans.clone();
        for span in &mut spans {
            span.task = *worker;
        }
        spans
    };
    counted.iter().flat_map(of_worker).collect()
}

/// Each worker waits for a task of the same pool, so no worker is left to run it. Returns whether
/// it ran before they stopped waiting.
fn blocked(pool: &ThreadPool) -> io::Result<bool> {
    // Without a timeout the program would hang here forever.
    let timeout = Duration::from_millis(300);
    waiting_for_one_more(pool, timeout, |scope, wait| {
        scope.spawn(move |_| wait());
        Ok(())
    })
}

/// The same with the waiting done in threads of its own.
fn blocked_elsewhere(pool: &ThreadPool) -> io::Result<bool> {
    let timeout = Duration::from_mins(1); // for safety: the task comes at once
    waiting_for_one_more(pool, timeout, |_, wait| {
        thread::Builder::new().spawn(wait).map_err(no_thread)?;
        Ok(())
    })
}

fn waiting_for_one_more(
    pool: &ThreadPool,
    timeout: Duration,
    start: impl Fn(&rayon::Scope<'_>, Box<dyn FnOnce() + Send>) -> io::Result<()> + Sync,
) -> io::Result<bool> {
    let (gave_up, all_gave_up) = channel();
    pool.in_place_scope(|scope| {
        let (blocking, all_block) = channel();
        let mut gates = Vec::new();
        for _ in 0..WORKERS {
            let (open, gate) = channel::<()>();
            gates.push(open);
            let (blocking, gave_up) = (blocking.clone(), gave_up.clone());
            let wait = move || {
                // After an error the receiver is gone.
                let _ = blocking.send(());
                let waited = gate.recv_timeout(timeout);
                let late = matches!(waited, Err(RecvTimeoutError::Timeout));
                let _ = gave_up.send(late);
            };
            start(scope, Box::new(wait))?; // on an error the gates are dropped, which opens them
        }
        for _ in 0..WORKERS {
            all_block.recv().expect("each says that it blocks");
        }
        // Every worker is blocked now, or none is: the task that releases them comes last.
        scope.spawn(move |_| {
            for gate in gates {
                // A caller that timed out has dropped its receiver.
                let _ = gate.send(());
            }
        });
        io::Result::Ok(())
    })?;
    drop(gave_up);
    Ok(!all_gave_up.iter().any(|late| late))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_in_the_pool_starves_it_and_elsewhere_it_does_not() {
        let pool = ThreadPoolBuilder::new().num_threads(WORKERS).build().unwrap();
        assert!(!blocked(&pool).unwrap());
        assert!(blocked_elsewhere(&pool).unwrap());
    }

    #[test]
    fn both_ways_count_the_same() {
        let pool = ThreadPoolBuilder::new().num_threads(WORKERS).build().unwrap();
        let primes = |counted: Vec<(usize, Counted)>| -> Vec<u64> {
            counted.into_iter().map(|(_, c)| c.primes).collect()
        };
        assert_eq!(primes(in_halves(&pool)), primes(by_stealing(&pool)));
    }
}
