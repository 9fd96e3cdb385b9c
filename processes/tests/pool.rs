//! The pool among workers that die.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, pause};

#[allow(dead_code, reason = "each suite uses a part of it")]
#[path = "../src/multiprocessing/mod.rs"]
mod multiprocessing;
mod runner;

use multiprocessing::pool::{JobError, OnDeath, Pool, TimedOut};
use multiprocessing::process::{self, ProcessError};
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

/// A panic that the hook does not print among the tests' own words.
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
    // It has copies of the ends through which the workers are told what to do.
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
    // Neither the workers nor the results of then are in the way now.
    let results: Vec<u64> = pool.map(2..8).into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [2, 3, 4, 5, 6, 7]);
}

/// Work that ends with its worker, for one job, as long as `deaths` lasts.
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
    // The pipe is full of the first part of the result; nobody has read any of it.
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
    // It waits for its next job, so it has sent this one's result.
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
    // The seven may be there before the pool has seen who died of the eighth.
    while results.under_way() > 0 {
        assert_eq!(results.next_within(Duration::from_millis(1)).map(drop), Err(TimedOut));
    }
    // Nobody has the job any more, so no time will bring it.
    assert_eq!(results.next_within(Duration::from_millis(20)).map(drop), Err(TimedOut));
}

fn nothing_is_lost_or_doubled_over_a_thousand_kills() {
    const JOBS: usize = 200;
    // Results up to several times of what a pipe holds, so that many are torn.
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
