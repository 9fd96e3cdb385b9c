//! pool: a job kills its worker, and four policies decide what happens to the job.
//! The pool waits in one poll for all its workers, and sees which of them died.
//! Run it: cargo run -p processes -- pool

use std::collections::HashSet;
use std::io;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::registry::Flags;
use common::report::section::Section;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::multiprocessing::pool::{JobError, OnDeath, Pool, Shift, TimedOut};
use crate::multiprocessing::shared_memory::Shared;

const JOBS: usize = 8;
const DEADLY: usize = 3;
const WORKERS: usize = 2;
const WORK: Duration = Duration::from_millis(6);

/// The results of eight jobs, one of which kills its worker.
struct Trial {
    results: Vec<Option<Result<usize, JobError>>>,
    shifts: Vec<Shift>,
    broken: bool,
}

impl Trial {
    /// `deaths`: how many workers the deadly job kills before one can do it.
    fn run(on_death: OnDeath, deaths: u64) -> io::Result<Self> {
        let deaths = Shared::new([AtomicU64::new(deaths)])?;
        let work = |job: usize| {
            thread::sleep(WORK); // the job
            if job == DEADLY && deaths[0].load(Relaxed) > 0 {
                deaths[0].fetch_sub(1, Relaxed);
                // As the kernel kills a process that it chooses when memory runs out.
                let _ = kill(Pid::this(), Signal::SIGKILL);
            }
            job
        };
        let mut pool = Pool::new(WORKERS, on_death, work)?;
        let mut results = pool.imap_unordered(1..=JOBS);
        let mut seen: Vec<_> = (0..JOBS).map(|_| None).collect();
        loop {
            match results.next_within(Duration::from_millis(100)) {
                Ok(Some((n, result))) => seen[n] = Some(result),
                Ok(None) => break,
                // Otherwise it would go on forever.
                Err(TimedOut) if results.under_way() == 0 => break,
                Err(TimedOut) => {}
            }
        }
        let shifts = results.shifts().to_vec();
        drop(results);
        let broken = pool.is_broken();
        pool.terminate();
        Ok(Self { results: seen, shifts, broken })
    }

    fn done(&self) -> usize {
        self.results.iter().flatten().filter(|result| result.is_ok()).count()
    }

    fn fate(&self) -> String {
        match &self.results[DEADLY - 1] {
            Some(Ok(_)) => "done by another worker".into(),
            Some(Err(error)) if self.broken => format!("{error}, and all jobs are lost"),
            Some(Err(error)) => error.to_string(),
            None => "nothing: a caller that waits for it waits forever".into(),
        }
    }

    /// One mark per job: done, lost, or nothing.
    fn marks(&self) -> String {
        let mark = |result: &Option<Result<usize, JobError>>| match result {
            Some(Ok(_)) => " ✓",
            Some(Err(JobError::Broken)) => " –",
            Some(Err(_)) => " ✗",
            None => " …",
        };
        self.results.iter().map(mark).collect()
    }

    /// One line per worker, with the numbers of its jobs at their times.
    fn lanes(&self) -> Vec<String> {
        const COLUMNS: u64 = 54;
        let from = self.shifts.iter().map(|s| s.from_us).min().unwrap_or(0);
        let to = self.shifts.iter().map(|s| s.to_us).max().unwrap_or(from);
        let column = |at: u64| ((at - from) * (COLUMNS - 1) / (to - from).max(1)) as usize;
        let mut workers: Vec<Pid> = Vec::new();
        let mut by_start = self.shifts.clone();
        by_start.sort_by_key(|s| s.from_us);
        for shift in &by_start {
            if !workers.contains(&shift.worker) {
                workers.push(shift.worker);
            }
        }
        let mut lines = Vec::new();
        for (n, worker) in workers.iter().enumerate() {
            let mut lane = vec![' '; COLUMNS as usize];
            for shift in by_start.iter().filter(|s| s.worker == *worker) {
                let digit = char::from_digit(shift.job as u32 + 1, 10).unwrap_or('?');
                let (start, end) = (column(shift.from_us), column(shift.to_us));
                lane[start..=end].fill('─');
                lane[start] = digit;
                if shift.died {
                    lane[end] = '✗';
                }
            }
            let lane: String = lane.into_iter().collect();
            lines.push(format!("  worker {}  ╶{lane}╴", n + 1));
        }
        lines
    }
}

/// Four policies for a dead worker, then more deaths than any program should see.
pub fn run(_: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = show(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn show(section: &mut Section) -> io::Result<()> {
    let policies = [
        ("hang", "multiprocessing.Pool", OnDeath::Hang),
        ("break all", "concurrent.futures.ProcessPoolExecutor", OnDeath::BreakAll),
        ("report", "", OnDeath::Report),
        ("retry", "this project's choice", OnDeath::Retry { times: 3 }),
    ];
    let numbers = (1..=JOBS).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    section.shown.push(format!("              {numbers}    a worker is killed in job {DEADLY}"));
    let mut last = None;
    for (name, who, on_death) in policies {
        let trial = Trial::run(on_death, 1)?;
        section.answer.push(format!("{name:<10} job {DEADLY}: {}", trial.fate()));
        section.shown.push(format!("  {name:<11}{}    {who}", trial.marks()).trim_end().into());
        section.measure(&format!("{name}: done"), trial.done().into());
        last = Some(trial);
    }
    let retried = last.expect("there are four policies");
    section.shown.push("\n  retry, seen from the workers:".into());
    section.shown.extend(retried.lanes());

    let hopeless = Trial::run(OnDeath::Retry { times: 3 }, u64::MAX)?;
    section.answer.push(format!("no luck    job {DEADLY}: {}", hopeless.fate()));
    section.answer.push(format!("panic      job {DEADLY}: {}", a_panic()?));

    let kills = 100;
    let (jobs, seconds) = under_fire(kills)?;
    section.answer.push(format!("{kills} workers killed at random: every job done, and once"));
    let rate = cost_of_a_job()?;
    section.shown.push(String::new());
    section.shown.push(format!("  {kills} workers killed under {jobs} jobs   {seconds:>7.3} s"));
    section.shown.push(format!("  what the pool adds to a job       {:>7.0} µs", rate * 1e6));
    section.measure("kills", kills.into());
    section.measure("jobs_under_fire", jobs.into());
    section.measure("seconds_a_job", rate.into());
    let all_but_one = hopeless.done() == JOBS - 1;
    if retried.done() < JOBS || !all_but_one {
        section.wrong = Some("a job was lost that should not be".into());
    }
    Ok(())
}

/// A job that panics loses its result, but not its worker.
fn a_panic() -> io::Result<String> {
    let hook = panic::take_hook(); // it would print the panic: the workers inherit one that does not
    panic::set_hook(Box::new(|_| ()));
    let pool = Pool::new(1, OnDeath::Report, |job: usize| {
        assert!(job != DEADLY, "no page {job}");
        job
    });
    panic::set_hook(hook);
    let mut pool = pool?;
    let mut results = pool.map(1..=JOBS);
    let error =
        results.remove(DEADLY - 1).map_or_else(|error| error.to_string(), |_| String::new());
    let unharmed = results.iter().all(Result::is_ok) && pool.deaths() == 0;
    pool.close();
    if unharmed { Ok(error) } else { Err(io::Error::other("a panic has harmed other jobs")) }
}

/// Kills workers at random moments. Returns how many jobs were done meanwhile, each exactly once,
/// and the time it took.
fn under_fire(kills: usize) -> io::Result<(usize, f64)> {
    const ROUND: usize = 100;
    let started = Instant::now();
    // Some results are several times as long as a pipe can hold: many are torn in the middle.
    let size = |job: usize| job * 7_919 % 200_000;
    let retry = OnDeath::Retry { times: u32::MAX };
    let mut pool = Pool::new(4, retry, |job: usize| "x".repeat(size(job)))?;
    let mut random = 0x2545_F491_4F6C_DD1D_u64; // Marsaglia's xorshift
    let mut killed = HashSet::new();
    let mut jobs = 0;
    while killed.len() < kills {
        let mut seen = [0; ROUND];
        let mut results = pool.imap_unordered(0..ROUND);
        while let Some((job, result)) = results.next() {
            let right = result.is_ok_and(|text| text.len() == size(job));
            seen[job] += if right { 1 } else { ROUND };
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // The worker is not reaped before the pool looks again, so the number is still its own.
            if let Some(victim) = results.pids().get(random as usize % 8)
                && killed.len() < kills
                && killed.insert(*victim)
            {
                kill(*victim, Signal::SIGKILL)?;
            }
        }
        if seen != [1; ROUND] {
            return Err(io::Error::other("a result is missing, wrong, or there twice"));
        }
        jobs += ROUND;
    }
    pool.close();
    Ok((jobs, started.elapsed().as_secs_f64()))
}

/// Seconds for each of many jobs that do nothing, on one worker.
fn cost_of_a_job() -> io::Result<f64> {
    const MANY: usize = 1_000;
    let mut pool = Pool::new(1, OnDeath::Report, |job: usize| job)?;
    let started = Instant::now();
    pool.map(0..MANY);
    let seconds = started.elapsed().as_secs_f64();
    pool.close();
    Ok(seconds / MANY as f64)
}
