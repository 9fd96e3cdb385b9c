//! loops: what differs between tokio, async-std and smol, each difference shown by running it.
//! The coroutines are the same. They differ when a handle is dropped, or when a task panics.
//! Run it: cargo run -p asyncio-style -- loops

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::future::ready;
use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use common::partner::site::handle::Site;
use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use common::workload::io_bound::{Job, Outcome};
use serde_json::{Value, json};
use smol::future::{FutureExt, block_on};

use super::check_descriptors;
use crate::{on_async_std, on_smol, on_tokio};

/// One loop's answers to the same questions.
struct Loop {
    name: &'static str,
    pages: fn(Vec<Job>) -> Vec<Outcome>,
    dropped_handle: fn() -> &'static str,
    panic_in_a_task: fn() -> &'static str,
    timer_alone: fn() -> &'static str,
}

const LOOPS: [Loop; 3] = [
    Loop {
        name: "tokio",
        pages: |jobs| on_tokio::run(on_tokio::io_bound::run(jobs)),
        dropped_handle: || {
            on_tokio::run(async {
                let ran = Rc::new(Cell::new(false));
                let task = mark(Rc::clone(&ran), tokio::task::yield_now());
                drop(tokio::task::spawn_local(task));
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                fate(&ran)
            })
        },
        panic_in_a_task: || {
            on_tokio::run(async {
                match tokio::task::spawn_local(boom()).await {
                    Err(error) if error.is_panic() => "an Err at await",
                    _ => "lost",
                }
            })
        },
        timer_alone: || {
            let slept = catch_unwind(|| block_on(tokio::time::sleep(Duration::from_millis(1))));
            if slept.is_ok() { "works" } else { "panics" }
        },
    },
    Loop {
        name: "async-std",
        pages: |jobs| on_async_std::run(on_async_std::io_bound::run(jobs)),
        dropped_handle: || {
            on_async_std::run(async {
                let ran = Rc::new(Cell::new(false));
                let task = mark(Rc::clone(&ran), async_std::task::yield_now());
                drop(on_async_std::task::spawn_local(task));
                for _ in 0..3 {
                    async_std::task::yield_now().await;
                }
                fate(&ran)
            })
        },
        panic_in_a_task: || {
            on_async_std::run(async {
                let task = on_async_std::task::spawn_local(boom());
                rethrown(AssertUnwindSafe(task).catch_unwind().await.is_err())
            })
        },
        timer_alone: || {
            let sleep = async_std::task::sleep(Duration::from_millis(1));
            let slept = catch_unwind(AssertUnwindSafe(|| block_on(sleep)));
            if slept.is_ok() { "works" } else { "panics" }
        },
    },
    Loop {
        name: "smol",
        pages: |jobs| on_smol::run(on_smol::io_bound::run(jobs)),
        dropped_handle: || {
            on_smol::run(async {
                let ran = Rc::new(Cell::new(false));
                let task = mark(Rc::clone(&ran), smol::future::yield_now());
                drop(on_smol::task::spawn_local(task));
                for _ in 0..3 {
                    smol::future::yield_now().await;
                }
                fate(&ran)
            })
        },
        panic_in_a_task: || {
            on_smol::run(async {
                let task = on_smol::task::spawn_local(boom());
                rethrown(AssertUnwindSafe(task).catch_unwind().await.is_err())
            })
        },
        timer_alone: || {
            let timer = smol::Timer::after(Duration::from_millis(1));
            let slept = catch_unwind(AssertUnwindSafe(|| block_on(timer)));
            if slept.is_ok() { "works" } else { "panics" }
        },
    },
];

/// Sets the mark, but only after having yielded once.
async fn mark(ran: Rc<Cell<bool>>, yields: impl Future<Output = ()>) {
    yields.await;
    ran.set(true);
}

fn fate(ran: &Cell<bool>) -> &'static str {
    if ran.get() { "goes on" } else { "is cancelled" }
}

/// Panics without the message on stderr.
async fn boom() {
    ready(()).await;
    resume_unwind(Box::new("boom"));
}

fn rethrown(panicked: bool) -> &'static str {
    if panicked { "rethrown there" } else { "lost" }
}

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = compare(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn compare(section: &mut Section) -> io::Result<()> {
    check_descriptors()?;
    let site = Site::start()?;
    let row = |name: &str, cells: [&str; 3]| {
        let [tokio, async_std, smol] = cells;
        format!("{name:<22} {tokio:<18} {async_std:<16} {smol}").trim_end().to_string()
    };
    section.answer.push(row("", LOOPS.map(|l| l.name)));
    let pages = LOOPS.map(|l| (l.pages)(jobs(&site)));
    // Three equal errors are not a page.
    let came = pages.each_ref().map(|all| all.iter().all(|outcome| outcome.result.is_ok()));
    let pages = pages.map(lines);
    let alike = [0, 1, 2].map(|n| came[n] && pages[n] == pages[0]);
    let same = alike.iter().filter(|same| **same).count();
    let words = alike.map(|same| if same { "the same" } else { "others" });
    let first = if came[0] { "three pages" } else { "not all pages" };
    section.answer.push(row("the same program", [first, words[1], words[2]]));
    if same != LOOPS.len() {
        section.wrong = Some(format!("the loops fetched different pages: {pages:?}"));
    }
    section.answer.push(row("a dropped handle", LOOPS.map(|l| (l.dropped_handle)())));
    section.answer.push(row("a panic in a task", LOOPS.map(|l| (l.panic_in_a_task)())));
    section.answer.push(row("a timer without loop", silently(|| LOOPS.map(|l| (l.timer_alone)()))));
    let threads = threads()?;
    section
        .shown
        .push("  threads in this process now, of which tokio's loop has started none:".into());
    section.shown.extend(threads.iter().map(|(name, n)| format!("    {n} × {name}")));
    section.shown.push("  async-io is one reactor for both async-std and smol".into());
    section.measure("same", json!(same));
    section.measure("threads", json!(threads));
    Ok(())
}

fn jobs(site: &Site) -> Vec<Job> {
    let job = |task| Job {
        task,
        url: format!("http://{}/page/{task}?delay=10", site.address()),
        addresses: vec![site.address()],
        page: format!("/page/{task}"),
        timeout: Duration::from_secs(10),
    };
    (0..3).map(job).collect()
}

fn lines(outcomes: Vec<Outcome>) -> Vec<String> {
    outcomes.iter().map(|outcome| outcome.line(7)).collect()
}

/// Runs code that panics on purpose, without its message on stderr.
fn silently<R>(panics: impl FnOnce() -> R) -> R {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panics();
    panic::set_hook(hook);
    result
}

/// The names of this process's threads, and how many there are of each.
fn threads() -> io::Result<BTreeMap<String, usize>> {
    let mut names = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread that has just ended no longer has a name.
        let Ok(name) = fs::read_to_string(task?.path().join("comm")) else { continue };
        *names.entry(name.trim_end().to_string()).or_insert(0) += 1;
    }
    Ok(names)
}

/// S3: an explicit loop, and a replaceable one.
pub fn replaceable(section: &Section) -> Verdict {
    let same = section.measured.get("same").and_then(Value::as_u64).unwrap_or(0);
    let said = format!("{same} of {} loops fetched the same pages", LOOPS.len());
    if same == LOOPS.len() as u64 { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_handle_cancels_on_smol_only() {
        let fates = LOOPS.map(|l| (l.dropped_handle)());
        assert_eq!(fates, ["goes on", "goes on", "is cancelled"]);
    }

    #[test]
    fn verdicts_follow_the_figures() {
        for (same, word) in [(3, "holds"), (2, "does not hold"), (0, "does not hold")] {
            let mut section = Section::default();
            section.measure("same", json!(same));
            assert_eq!(replaceable(&section).word(), word, "{same}");
        }
        assert!(matches!(replaceable(&Section::default()), Verdict::Fails(_)));
    }

    struct Dropped(Rc<Cell<bool>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    async fn endless(held: Dropped) {
        loop {
            smol::future::yield_now().await;
            assert!(!held.0.get());
        }
    }

    #[test]
    fn pending_tasks_are_cancelled_at_the_end_of_a_run_on_every_loop() {
        let leave: [fn(Dropped); 3] = [
            |held| on_tokio::run(async { drop(tokio::task::spawn_local(endless(held))) }),
            |held| {
                on_async_std::run(async { drop(on_async_std::task::spawn_local(endless(held))) });
            },
            |held| on_smol::run(async { on_smol::task::spawn_local(endless(held)).detach() }),
        ];
        for leave in leave {
            let dropped = Rc::new(Cell::new(false));
            leave(Dropped(Rc::clone(&dropped)));
            assert!(dropped.get());
        }
    }

    #[test]
    fn a_panic_reaches_the_awaiting_task() {
        let fates = LOOPS.map(|l| (l.panic_in_a_task)());
        assert_eq!(fates, ["an Err at await", "rethrown there", "rethrown there"]);
    }

    #[test]
    fn only_tokios_timer_needs_its_loop() {
        let fates = silently(|| LOOPS.map(|l| (l.timer_alone)()));
        assert_eq!(fates, ["panics", "works", "works"]);
    }
}
