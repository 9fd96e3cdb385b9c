//! A pool whose workers die.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction, signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getppid, pause};
use serde::{Deserialize, Serialize};

#[allow(dead_code, reason = "each suite uses a part of it")]
#[path = "../src/multiprocessing/mod.rs"]
mod multiprocessing;
mod runner;

use multiprocessing::answer::ProcessError;
use multiprocessing::pool::{JobError, OnDeath, Pool, TimedOut};
use multiprocessing::process;
use multiprocessing::shared_memory::Shared;

const RETRY: OnDeath = OnDeath::Retry { times: 3 };
const FOREVER: OnDeath = OnDeath::Retry { times: u32::MAX };

fn main() -> ExitCode {
    runner::main(&[
        ("map_keeps_the_order", map_keeps_the_order),
        ("unordered_brings_the_first_first", unordered_brings_the_first_first),
        ("jobs_and_results_larger_than_a_pipe", jobs_and_results_larger_than_a_pipe),
        ("workers_are_used_again", workers_are_used_again),
        (
            "a_panic_fails_its_job_and_spares_its_worker",
            a_panic_fails_its_job_and_spares_its_worker,
        ),
        ("close_lets_finish_and_leaves_nobody", close_lets_finish_and_leaves_nobody),
        ("close_does_not_wait_for_a_stranger", close_does_not_wait_for_a_stranger),
        ("terminate_leaves_nobody", terminate_leaves_nobody),
        ("a_dropped_iterator_calls_off_its_jobs", a_dropped_iterator_calls_off_its_jobs),
        ("a_killed_worker_costs_no_job", a_killed_worker_costs_no_job),
        ("a_deadly_job_is_lost_after_three_workers", a_deadly_job_is_lost_after_three_workers),
        ("an_idle_worker_may_be_killed", an_idle_worker_may_be_killed),
        ("a_torn_result_is_no_result", a_torn_result_is_no_result),
        ("a_whole_result_of_a_dead_worker_counts", a_whole_result_of_a_dead_worker_counts),
        ("report_loses_one_job", report_loses_one_job),
        ("break_all_gives_up_everything", break_all_gives_up_everything),
        ("hang_never_answers", hang_never_answers),
        (
            "nothing_is_lost_or_doubled_over_a_thousand_kills",
            nothing_is_lost_or_doubled_over_a_thousand_kills,
        ),
        ("a_job_that_was_not_read_is_done_by_another", a_job_that_was_not_read_is_done_by_another),
        ("a_job_that_nobody_lives_to_read_is_lost", a_job_that_nobody_lives_to_read_is_lost),
        ("a_signal_ends_no_idle_worker", a_signal_ends_no_idle_worker),
        ("signals_do_not_delay_a_timeout", signals_do_not_delay_a_timeout),
        ("a_thread_started_later_costs_no_result", a_thread_started_later_costs_no_result),
        ("an_idle_worker_that_dies_breaks_all", an_idle_worker_that_dies_breaks_all),
        ("an_inherited_pool_does_no_jobs", an_inherited_pool_does_no_jobs),
        ("a_forgotten_iterator_leaves_nothing_behind", a_forgotten_iterator_leaves_nothing_behind),
        ("there_may_be_no_end_of_jobs", there_may_be_no_end_of_jobs),
        ("jobs_that_cannot_travel_fail_alone", jobs_that_cannot_travel_fail_alone),
        (
            "a_result_that_panics_on_arrival_leaves_the_others",
            a_result_that_panics_on_arrival_leaves_the_others,
        ),
        ("a_timeout_may_be_as_long_as_it_can", a_timeout_may_be_as_long_as_it_can),
        ("limits_are_named", limits_are_named),
        (
            "results_arrive_though_nobody_tells_of_an_end",
            results_arrive_though_nobody_tells_of_an_end,
        ),
    ])
}

fn map_keeps_the_order() {
    let mut pool = Pool::new(3, RETRY, |n: u64| n * n).unwrap();
    let squares: Vec<u64> = pool.map(0..100).into_iter().map(Result::unwrap).collect();
    assert_eq!(squares, (0..100).map(|n| n * n).collect::<Vec<_>>());
    assert!(pool.map([]).is_empty());
}

fn unordered_brings_the_first_first() {
    let (gate, opens) = io::pipe().unwrap();
    let work = |n: u64| {
        if n == 0 {
            (&gate).read_exact(&mut [0]).unwrap(); // until the other has been seen
        }
        n
    };
    let mut pool = Pool::new(2, RETRY, work).unwrap();
    let mut results = pool.imap_unordered([0, 1]);
    assert_eq!(results.next().unwrap().1.unwrap(), 1);
    (&opens).write_all(b"x").unwrap();
    assert_eq!(results.next().unwrap().1.unwrap(), 0);
    assert!(results.next().is_none());
}

fn jobs_and_results_larger_than_a_pipe() {
    let mut pool = Pool::new(2, RETRY, |text: String| text + "!").unwrap();
    let jobs: Vec<String> = (0..6).map(|n| "x".repeat(300_000 + n)).collect();
    for (job, result) in jobs.iter().zip(pool.map(jobs.clone())) {
        assert_eq!(result.unwrap(), format!("{job}!"));
    }
}

fn workers_are_used_again() {
    let mut pool = Pool::new(2, RETRY, |_: u64| Pid::this().as_raw()).unwrap();
    let pids: Vec<i32> = pool.pids().into_iter().map(Pid::as_raw).collect();
    for _ in 0..3 {
        for result in pool.map(0..20) {
            assert!(pids.contains(&result.unwrap()));
        }
    }
}

fn a_panic_fails_its_job_and_spares_its_worker() {
    let mut pool = Pool::new(1, RETRY, |n: u64| {
        assert_without_a_word(n != 1);
        Pid::this().as_raw()
    })
    .unwrap();
    let results = pool.map(0..3);
    let error = results[1].as_ref().unwrap_err();
    assert!(matches!(error, JobError::Failed(ProcessError::Panicked(_))));
    assert_eq!(error.to_string(), "the process panicked: not this one");
    assert_eq!(results[0].as_ref().unwrap(), results[2].as_ref().unwrap());
    assert_eq!(pool.deaths(), 0);
}

/// A panic that the hook does not print into the output of the tests.
fn assert_without_a_word(condition: bool) {
    if !condition {
        std::panic::resume_unwind(Box::new("not this one"));
    }
}

fn close_lets_finish_and_leaves_nobody() {
    let mut pool = Pool::new(3, RETRY, |n: u64| n).unwrap();
    pool.map(0..10);
    pool.close();
    assert_no_children();
}

fn close_does_not_wait_for_a_stranger() {
    let pool = Pool::new(2, RETRY, |n: u64| n).unwrap();
    // It has copies of the ends through which the workers get their jobs.
    let stranger = process::spawn(pause);
    pool.close();
    assert!(!stranger.is_finished());
}

fn terminate_leaves_nobody() {
    let mut pool = Pool::new(3, RETRY, |_: u64| {
        pause();
    })
    .unwrap();
    let pids = pool.pids();
    let mut results = pool.imap_unordered(0..3);
    assert_eq!(results.next_within(Duration::ZERO).map(drop), Err(TimedOut));
    drop(results);
    pool.terminate();
    assert!(pids.iter().all(|pid| kill(*pid, None) == Err(Errno::ESRCH)));
    assert_no_children();
}

fn a_dropped_iterator_calls_off_its_jobs() {
    let work = |n: u64| {
        if n < 2 {
            pause();
        }
        n
    };
    let mut pool = Pool::new(2, RETRY, work).unwrap();
    let mut results = pool.imap_unordered(0..8);
    assert_eq!(results.next_within(Duration::ZERO).map(drop), Err(TimedOut));
    drop(results);
    // Neither those workers nor their results are in the way now.
    let results: Vec<u64> = pool.map(2..8).into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [2, 3, 4, 5, 6, 7]);
}

/// Work that kills its worker, for one job, as long as `deaths` is not 0.
fn deadly(deaths: &Shared<AtomicU64>) -> impl Fn(u64) -> u64 {
    move |n| {
        if n == 3 && deaths[0].load(SeqCst) > 0 {
            deaths[0].fetch_sub(1, SeqCst);
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        n
    }
}

fn shared(value: u64) -> Shared<AtomicU64> {
    Shared::new([AtomicU64::new(value)]).unwrap()
}

fn a_killed_worker_costs_no_job() {
    let deaths = shared(2);
    let mut pool = Pool::new(2, RETRY, deadly(&deaths)).unwrap();
    let results: Vec<u64> = pool.map(0..8).into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(pool.deaths(), 2);
    pool.close();
    assert_no_children();
}

fn a_deadly_job_is_lost_after_three_workers() {
    let deaths = shared(u64::MAX);
    let mut pool = Pool::new(2, RETRY, deadly(&deaths)).unwrap();
    let mut results = pool.map(0..8);
    let error = results.remove(3).unwrap_err();
    assert_eq!(error.to_string(), "lost, started 3 times: the process was killed by SIGKILL");
    let others: Vec<u64> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(others, [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(pool.deaths(), 3);
}

fn an_idle_worker_may_be_killed() {
    let mut pool = Pool::new(2, OnDeath::Report, |n: u64| n).unwrap();
    for pid in pool.pids() {
        kill(pid, Signal::SIGKILL).unwrap();
        wait_until(pid, |state| state == "Z");
    }
    assert!(pool.map(0..8).into_iter().all(|result| result.is_ok()));
    assert_eq!(pool.deaths(), 2);
}

fn a_torn_result_is_no_result() {
    let runs = shared(0);
    let work = |()| {
        runs[0].fetch_add(1, SeqCst);
        "x".repeat(1_000_000)
    };
    let mut pool = Pool::new(1, RETRY, work).unwrap();
    let mut results = pool.imap_unordered([()]);
    assert_eq!(results.next_within(Duration::ZERO).map(drop), Err(TimedOut));
    // The pipe is full of the first part of the result, and none of it has been read.
    let pid = results.pids()[0];
    let writes = format!("{} ", libc::SYS_write);
    while !fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap().starts_with(&writes) {
        thread::yield_now();
    }
    kill(pid, Signal::SIGKILL).unwrap();
    let (job, result) = results.next().unwrap();
    assert_eq!((job, result.unwrap().len()), (0, 1_000_000));
    assert!(results.next().is_none());
    drop(results);
    assert_eq!((runs[0].load(SeqCst), pool.deaths()), (2, 1));
}

fn a_whole_result_of_a_dead_worker_counts() {
    let runs = shared(0);
    let mut pool = Pool::new(1, RETRY, |()| runs[0].fetch_add(1, SeqCst)).unwrap();
    let mut results = pool.imap_unordered([()]);
    assert_eq!(results.next_within(Duration::ZERO).map(drop), Err(TimedOut));
    let pid = results.pids()[0];
    // It waits for its next job, so it has sent the result of this one.
    let reads = format!("{} ", libc::SYS_read);
    while runs[0].load(SeqCst) == 0
        || !fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap().starts_with(&reads)
    {
        thread::yield_now();
    }
    kill(pid, Signal::SIGKILL).unwrap();
    wait_until(pid, |state| state == "Z");
    assert_eq!(results.next().unwrap().1.unwrap(), 0);
    drop(results);
    assert_eq!((runs[0].load(SeqCst), pool.deaths()), (1, 1));
}

fn report_loses_one_job() {
    let deaths = shared(1);
    let mut pool = Pool::new(2, OnDeath::Report, deadly(&deaths)).unwrap();
    let results = pool.map(0..8);
    let lost: Vec<usize> = (0..8).filter(|n| results[*n].is_err()).collect();
    assert_eq!(lost, [3]);
    let error = results[3].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "lost: the process was killed by SIGKILL");
}

fn break_all_gives_up_everything() {
    let deaths = shared(1);
    let mut pool = Pool::new(1, OnDeath::BreakAll, deadly(&deaths)).unwrap();
    let results = pool.map(0..8);
    assert!(results[..3].iter().all(Result::is_ok));
    assert!(matches!(results[3], Err(JobError::Lost { started: 1, .. })));
    assert!(results[4..].iter().all(|result| matches!(result, Err(JobError::Broken))));
    assert!(pool.map(0..2).iter().all(|result| matches!(result, Err(JobError::Broken))));
    assert_no_children();
}

fn hang_never_answers() {
    let deaths = shared(1);
    let mut pool = Pool::new(2, OnDeath::Hang, deadly(&deaths)).unwrap();
    let mut results = pool.imap_unordered(0..8);
    let mut seen: Vec<usize> = results.by_ref().take(7).map(|(job, _)| job).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 4, 5, 6, 7]);
    // All seven may be there before the pool has noticed the death of the worker.
    while results.under_way() > 0 {
        assert_eq!(results.next_within(Duration::from_millis(1)).map(drop), Err(TimedOut));
    }
    // No worker has the job any more, so its result will never come.
    assert_eq!(results.next_within(Duration::from_millis(20)).map(drop), Err(TimedOut));
}

fn nothing_is_lost_or_doubled_over_a_thousand_kills() {
    const JOBS: usize = 200;
    // Results up to several times as long as a pipe can hold, so that many are torn.
    let size = |n: usize| n * 7_919 % 250_000;
    let mut pool = Pool::new(4, FOREVER, |n: usize| "x".repeat(size(n))).unwrap();
    let mut random: u64 = 0x2545_F491_4F6C_DD1D;
    let mut killed = HashSet::new();
    while killed.len() < 1_000 {
        let mut seen = [0; JOBS];
        let mut results = pool.imap_unordered(0..JOBS);
        loop {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // None is reaped before the pool looks again, so these numbers are still the workers'.
            let workers = results.pids();
            if let Some(victim) = workers.get(random as usize % 4)
                && killed.insert(*victim)
            {
                kill(*victim, Signal::SIGKILL).unwrap();
            }
            match results.next_within(Duration::from_micros(random >> 32 & 2_047)) {
                Ok(Some((job, result))) => {
                    assert_eq!(result.unwrap().len(), size(job));
                    seen[job] += 1;
                }
                Ok(None) => break,
                Err(TimedOut) => {}
            }
        }
        assert_eq!(seen, [1; JOBS]);
    }
    pool.close();
    assert_no_children();
}

fn a_job_that_was_not_read_is_done_by_another() {
    // More than the pipe holds, and less: one is partly sent, the other is not read yet.
    for length in [1_000_000, 10] {
        for on_death in [OnDeath::Report, OnDeath::Hang, OnDeath::Retry { times: 1 }] {
            let mut pool = Pool::new(1, on_death, |text: String| text.len()).unwrap();
            let pid = pool.pids()[0];
            kill(pid, Signal::SIGSTOP).unwrap();
            wait_until(pid, |state| state == "T");
            let mut results = pool.imap_unordered(["x".repeat(length)]);
            assert_eq!(results.next_within(Duration::ZERO).map(drop), Err(TimedOut));
            kill(pid, Signal::SIGKILL).unwrap();
            wait_until(pid, |state| state == "Z");
            assert_eq!(results.next().unwrap().1.unwrap(), length);
            assert!(results.next().is_none());
        }
    }
}

fn a_job_that_nobody_lives_to_read_is_lost() {
    for on_death in [OnDeath::Report, RETRY] {
        let mut pool = Pool::new(1, on_death, |text: String| text.len()).unwrap();
        let mut results = pool.imap_unordered(["x".repeat(10_000_000)]);
        let (job, result) = loop {
            match results.next_within(Duration::ZERO) {
                Ok(done) => break done.unwrap(),
                Err(TimedOut) => {
                    for pid in results.pids() {
                        kill(pid, Signal::SIGKILL).unwrap();
                        wait_until(pid, |state| state == "Z");
                    }
                }
            }
        };
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "lost before it was started: the process was killed by SIGKILL");
        assert!(job == 0 && results.next().is_none());
        drop(results);
        assert_eq!(pool.deaths(), 5);
        assert!(pool.map(["x".to_owned()])[0].is_ok());
    }
}

/// Runs `f` with a handler for SIGUSR1 that only interrupts system calls.
#[expect(unsafe_code, reason = "a signal handler is installed")]
fn interrupted(f: impl FnOnce()) {
    extern "C" fn nothing(_: i32) {}
    let handler = SigHandler::Handler(nothing);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    let before = unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    f();
    // SAFETY: it was there before.
    unsafe { sigaction(Signal::SIGUSR1, &before) }.unwrap();
}

fn a_signal_ends_no_idle_worker() {
    interrupted(|| {
        let mut pool = Pool::new(2, OnDeath::Report, |n: u64| n).unwrap();
        let before = pool.pids();
        for _ in 0..20 {
            for pid in &before {
                wait_until(*pid, |state| state == "S");
                kill(*pid, Signal::SIGUSR1).unwrap();
            }
            assert!(pool.map(0..4).into_iter().all(|result| result.is_ok()));
        }
        assert_eq!((pool.pids(), pool.deaths()), (before, 0));
    });
}

fn signals_do_not_delay_a_timeout() {
    interrupted(|| {
        let mut pool = Pool::new(1, OnDeath::Report, |()| {
            pause();
        })
        .unwrap();
        // More often than the timeout, and forever.
        let storm = process::spawn(|| {
            while kill(getppid(), Signal::SIGUSR1).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut results = pool.imap_unordered([()]);
        assert_eq!(results.next_within(Duration::from_millis(30)).map(drop), Err(TimedOut));
        drop(storm);
    });
}

fn a_thread_started_later_costs_no_result() {
    let mut pool = Pool::new(2, RETRY, |n: u64| n).unwrap();
    let (gate, opens) = io::pipe().unwrap();
    let thread = thread::spawn(move || (&gate).read(&mut [0]).unwrap());
    let kill_one = |pool: &Pool<_, _>| {
        let pid = pool.pids()[0];
        kill(pid, Signal::SIGKILL).unwrap();
        wait_until(pid, |state| state == "Z");
    };
    kill_one(&pool);
    assert!(pool.map(0..8).into_iter().all(|result| result.is_ok()));
    assert_eq!(pool.pids().len(), 1);
    kill_one(&pool);
    for result in pool.map(0..1_000) {
        let error = result.unwrap_err();
        assert!(matches!(error, JobError::NoWorker(_)), "{error}");
        assert!(error.to_string().contains("2 threads"), "{error}");
    }
    drop(opens);
    thread.join().unwrap();
    assert!(pool.map(0..8).into_iter().all(|result| result.is_ok()));
    assert_eq!((pool.pids().len(), pool.deaths()), (2, 2));
}

fn an_idle_worker_that_dies_breaks_all() {
    let mut pool = Pool::new(2, OnDeath::BreakAll, |n: u64| n).unwrap();
    assert!(pool.map(0..4).iter().all(Result::is_ok));
    let pid = pool.pids()[1];
    kill(pid, Signal::SIGKILL).unwrap();
    wait_until(pid, |state| state == "Z");
    assert!(pool.map(0..4).iter().all(|result| matches!(result, Err(JobError::Broken))));
    assert!(pool.is_broken());
    assert!(pool.imap_unordered(0..).take(3).all(|done| done.1.is_err()));
    assert_no_children();
}

fn an_inherited_pool_does_no_jobs() {
    let mut pool = Some(Pool::new(2, RETRY, |n: u64| n * 10).unwrap());
    let refused = process::spawn(|| {
        let pool = pool.as_mut().unwrap();
        let errors = pool.map(100..103).into_iter().map(|result| result.unwrap_err().to_string());
        errors.collect::<Vec<_>>()
    });
    let refused = refused.join().unwrap();
    assert!(refused.len() == 3 && refused[0].contains("it belongs to process"), "{refused:?}");
    for end in [drop::<Pool<_, _>>, Pool::close, Pool::terminate] {
        process::spawn(|| end(pool.take().unwrap())).join().unwrap();
    }
    let mut pool = pool.unwrap();

    // Nor does one that is forked in the middle of the results.
    let mut results = pool.imap_unordered(1..=4);
    let mut seen = vec![results.next().unwrap().1.unwrap()];
    let stranger =
        process::spawn(|| results.by_ref().filter(|(_, result)| result.is_err()).count());
    assert!(stranger.join().unwrap() >= 2);
    seen.extend(results.map(|(_, result)| result.unwrap()));
    seen.sort_unstable();
    assert_eq!(seen, [10, 20, 30, 40]);
    assert_eq!(pool.deaths(), 0);
}

fn a_forgotten_iterator_leaves_nothing_behind() {
    let mut pool = Pool::new(2, RETRY, |n: u64| n * 10).unwrap();
    let mut results = pool.imap_unordered(100..200);
    assert!(results.next().is_some());
    std::mem::forget(results);
    let results: Vec<u64> = pool.map(1..4).into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [10, 20, 30]);
}

fn there_may_be_no_end_of_jobs() {
    let taken = Cell::new(0);
    let jobs = (0_u64..).inspect(|_| taken.set(taken.get() + 1));
    let mut pool = Pool::new(2, RETRY, |n: u64| n).unwrap();
    assert_eq!(pool.imap_unordered(jobs).take(50).count(), 50);
    // For each of the two workers: a job under way, and before it a result not requested yet. One
    // of those results was the fiftieth.
    assert!(taken.get() < 50 + 2 * 2, "{} jobs were taken in advance", taken.get() - 50);
    assert!(pool.map(0..4).iter().all(Result::is_ok));
}

fn jobs_that_cannot_travel_fail_alone() {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Text(String),
    }
    struct Refuses(bool);
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 { Err(serde::ser::Error::custom("no")) } else { serializer.serialize_unit() }
        }
    }
    impl<'de> Deserialize<'de> for Refuses {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self(false))
        }
    }
    let mut pool = Pool::new(1, RETRY, |job: Untagged| match job {
        Untagged::Text(text) => text,
    })
    .unwrap();
    for result in pool.map([Untagged::Text("t".into()), Untagged::Text("u".into())]) {
        assert!(result.unwrap_err().to_string().contains("an untagged enum"));
    }
    assert_eq!(pool.deaths(), 0);
    let mut pool = Pool::new(1, RETRY, |_: Refuses| ()).unwrap();
    let results = pool.map([true, false, true, false].map(Refuses));
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false, true]);
}

fn a_result_that_panics_on_arrival_leaves_the_others() {
    #[derive(Serialize)]
    struct Bomb(u64);
    impl<'de> Deserialize<'de> for Bomb {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let number = u64::deserialize(deserializer)?;
            assert_without_a_word(number != 1);
            Ok(Self(number))
        }
    }
    let mut pool = Pool::new(1, RETRY, Bomb).unwrap();
    let mut results = pool.imap_unordered(0..3);
    let mut seen = Vec::new();
    let mut panics = 0;
    loop {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.next())) {
            Ok(Some((_, result))) => seen.push(result.unwrap().0),
            Ok(None) => break,
            Err(_) => panics += 1,
        }
    }
    assert_eq!((seen, panics), (vec![0, 2], 1));
}

fn a_timeout_may_be_as_long_as_it_can() {
    let mut pool = Pool::new(1, RETRY, |n: u64| n).unwrap();
    let mut results = pool.imap_unordered([3]);
    assert_eq!(results.next_within(Duration::MAX).unwrap().unwrap().1.unwrap(), 3);
    assert!(results.next_within(Duration::MAX).unwrap().is_none());
}

fn limits_are_named() {
    let error = Pool::new(0, RETRY, |n: u64| n).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "a pool needs at least one worker");

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let mut pool = Pool::new(4, RETRY, |n: u64| n).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 5, hard).unwrap();
    let results = pool.map(0..20);
    let started = Pool::new(1, RETRY, |n: u64| n).map(drop);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(results.len(), 20);
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(error, JobError::NoWorker(_)), "{error}");
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
    assert!(started.unwrap_err().to_string().contains("ulimit -n"));
    assert!(pool.map(0..20).iter().all(Result::is_ok)); // and with the old limit as before
}

#[expect(unsafe_code, reason = "a signal is ignored")]
fn results_arrive_though_nobody_tells_of_an_end() {
    // SAFETY: neither ignoring a signal nor its default action runs any code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn).unwrap() };
    let deaths = shared(2);
    let mut pool = Pool::new(2, RETRY, deadly(&deaths)).unwrap();
    let results: Vec<u64> = pool.map(0..8).into_iter().map(Result::unwrap).collect();
    assert_eq!((results, pool.deaths()), ((0..8).collect(), 2));
    pool.close();
    // SAFETY: as above.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl).unwrap() };
    assert_no_children();
}

/// Returns when the kernel reports the process in a state (`man 5 proc_pid_stat`).
fn wait_until(pid: Pid, reached: impl Fn(&str) -> bool) {
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        if reached(&after_name[..1]) {
            return;
        }
        thread::yield_now();
    }
}

fn assert_no_children() {
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}
