//! A pool of worker processes that survives the death of any of them.
//!
//! Like `multiprocessing.Pool`: `map`, `imap_unordered`, `close`, `terminate`. Unlike it, each
//! worker has a pipe for its jobs and a pipe for its results to itself. Python's workers share one
//! queue each way, so that one that is killed while it holds the queue's lock stops all others.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::cli::Flags;
use common::report::Section;
use common::timeline::now;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::{Child, Frames, ProcessError, from_answer, retry, to_answer, to_frame};
use crate::shared_memory::Shared;

/// What becomes of the job whose worker died: the four answers that pools give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeath {
    /// Nothing: a new worker is started, and whoever waits for the job waits for ever.
    /// (`multiprocessing.Pool`)
    Hang,
    /// All that is not finished is given up, the jobs of healthy workers, too.
    /// (`concurrent.futures.ProcessPoolExecutor`: `BrokenProcessPool`)
    BreakAll,
    /// The job is lost and said to be. The others do not notice.
    Report,
    /// The job is started again on a new worker, and lost once it has been started so many times.
    /// Only for jobs that may be done twice: how far the dead worker came, nobody knows.
    Retry { times: u32 },
}

/// Why a job has no result.
#[derive(Debug)]
pub enum JobError {
    /// The job ran to its end, which was a panic, or its result cannot be sent.
    Failed(ProcessError),
    /// Its worker died, as often as the policy allows.
    Lost { started: u32, last: ProcessError },
    /// Another job's worker died, and the policy is [`OnDeath::BreakAll`].
    Broken,
    /// No worker was left and none could be started.
    NoWorker(String),
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Lost { started: 1, last } => write!(f, "lost: {last}"),
            Self::Lost { started, last } => write!(f, "lost, started {started} times: {last}"),
            Self::Broken => write!(f, "given up: the pool is broken"),
            Self::NoWorker(reason) => write!(f, "not started: {reason}"),
        }
    }
}

impl std::error::Error for JobError {}

/// A job's number in the order they were handed in, and what became of it.
pub type Done<R> = (usize, Result<R, JobError>);

/// Worker processes that all do the same work on one job after another.
///
/// Dropped, it is terminated.
pub struct Pool<'w, J, R> {
    workers: Vec<Worker>,
    size: usize,
    on_death: OnDeath,
    broken: bool,
    deaths: usize,
    work: Box<dyn Fn(J) -> R + 'w>,
}

impl<'w, J, R> Pool<'w, J, R>
where
    J: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    /// Starts `size` workers. They know what this process knew at this moment, and will be told
    /// nothing but jobs.
    ///
    /// # Errors
    /// No process or no descriptor left.
    pub fn new(size: usize, on_death: OnDeath, work: impl Fn(J) -> R + 'w) -> io::Result<Self> {
        let mut pool = Self {
            workers: Vec::new(),
            size: size.max(1),
            on_death,
            broken: false,
            deaths: 0,
            work: Box::new(work),
        };
        pool.staff()?;
        Ok(pool)
    }

    /// Does all jobs and returns their results in the order of the jobs.
    pub fn map(&mut self, jobs: impl IntoIterator<Item = J>) -> Vec<Result<R, JobError>> {
        let mut all: Vec<Done<R>> = self.imap_unordered(jobs).collect();
        all.sort_by_key(|(job, _)| *job);
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// Does all jobs; each result comes when it is there, with the number of its job. Jobs under
    /// way are called off when the iterator is dropped.
    pub fn imap_unordered(&mut self, jobs: impl IntoIterator<Item = J>) -> Unordered<'_, 'w, J, R> {
        let mut waiting = VecDeque::new();
        let mut done = VecDeque::new();
        for (number, job) in jobs.into_iter().enumerate() {
            match to_frame(&Order::Work(job)) {
                Ok(frame) => waiting.push_back(Job { number, frame, started: 0, since_us: 0 }),
                Err(error) => {
                    let reason = ProcessError::Unsendable(error.to_string());
                    done.push_back((number, Err(JobError::Failed(reason))));
                }
            }
        }
        Unordered {
            missing: waiting.len() + done.len(),
            shifts: Vec::new(),
            waiting,
            done,
            pool: self,
        }
    }

    /// The numbers of the workers' processes.
    pub fn pids(&self) -> Vec<Pid> {
        self.workers.iter().map(|w| w.child.pid()).collect()
    }

    /// How many workers have died and been noticed.
    pub fn deaths(&self) -> usize {
        self.deaths
    }

    /// Lets the workers finish and waits for them.
    pub fn close(mut self) {
        let farewell = to_frame(&Order::<J>::Close).expect("a word fits into a frame");
        for worker in &mut self.workers {
            // Said in so many words: a process that somebody else has forked since may hold a copy
            // of this end, and the end of file would wait for it.
            let _ = worker.jobs.write_all(&farewell);
        }
        for mut worker in mem::take(&mut self.workers) {
            let _ = worker.child.reap();
        }
    }

    /// Kills the workers, whatever they do.
    pub fn terminate(self) {
        drop(self);
    }

    /// Starts workers until there are as many as there should be.
    fn staff(&mut self) -> io::Result<()> {
        while self.workers.len() < self.size {
            let worker = self.hire()?;
            self.workers.push(worker);
        }
        Ok(())
    }

    fn hire(&mut self) -> io::Result<Worker> {
        let (jobs_out, jobs) = io::pipe()?;
        let (results, results_in) = io::pipe()?;
        let siblings = &mut self.workers;
        let work = &self.work;
        let child = Child::fork(move || {
            // Its copies of the ends that belong to its elder siblings.
            siblings.clear();
            serve(jobs_out, results_in, work)
        })?;
        // The parent waits in one place, for all of them at once.
        fcntl(&jobs, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&results, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Worker {
            death: child.pidfd()?,
            child,
            jobs,
            outbox: Vec::new(),
            results,
            inbox: Frames::default(),
            job: None,
        })
    }
}

/// The results of [`Pool::imap_unordered`], as they come.
pub struct Unordered<'p, 'w, J, R> {
    pool: &'p mut Pool<'w, J, R>,
    waiting: VecDeque<Job>,
    done: VecDeque<Done<R>>,
    /// How many results the caller has not been given yet.
    missing: usize,
    shifts: Vec<Shift>,
}

/// A job's time with a worker, in microseconds of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Shift {
    pub job: usize,
    pub worker: Pid,
    pub from_us: u64,
    pub to_us: u64,
    /// Whether it ended with the worker, not with a result.
    pub died: bool,
}

/// No result came within the time the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl<J, R> Unordered<'_, '_, J, R>
where
    J: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    /// Waits for the next result, but not for ever: Python's `IMapIterator.next(timeout)`.
    ///
    /// # Errors
    /// None came in time. The jobs go on, and it may come later.
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Done<R>>, TimedOut> {
        self.next_until(Some(Instant::now() + patience))
    }

    /// The numbers of the workers' processes.
    pub fn pids(&self) -> Vec<Pid> {
        self.pool.pids()
    }

    /// How many jobs wait for a worker or are with one. If there are none and results are missing,
    /// they will never come ([`OnDeath::Hang`]).
    pub fn under_way(&self) -> usize {
        self.waiting.len() + self.pool.workers.iter().filter(|w| w.job.is_some()).count()
    }

    /// Which worker had which job when, those that died of it included.
    pub fn shifts(&self) -> &[Shift] {
        &self.shifts
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Done<R>>, TimedOut> {
        loop {
            if let Some(done) = self.done.pop_front() {
                self.missing -= 1;
                return Ok(Some(done));
            }
            if self.missing == 0 {
                return Ok(None);
            }
            self.attend(PollTimeout::ZERO); // so that no job is given to a dead worker
            self.dispatch();
            if self.done.is_empty() {
                let patience = time_left(deadline)?;
                self.attend(patience);
            }
        }
    }

    /// Gives each worker without a job the next one.
    fn dispatch(&mut self) {
        if self.pool.broken {
            let given_up = self.waiting.drain(..);
            self.done.extend(given_up.map(|job| (job.number, Err(JobError::Broken))));
        }
        if self.waiting.is_empty() {
            return;
        }
        // Fewer workers than wanted are no reason to stop.
        if let Err(error) = self.pool.staff()
            && self.pool.workers.is_empty()
        {
            let reason = error.to_string();
            let not_started = self.waiting.drain(..);
            self.done.extend(
                not_started.map(|job| (job.number, Err(JobError::NoWorker(reason.clone())))),
            );
        }
        for worker in &mut self.pool.workers {
            if worker.job.is_none()
                && let Some(job) = self.waiting.pop_front()
            {
                worker.give(job);
            }
        }
    }

    /// Waits until something happens to a worker, and deals with all that has happened.
    fn attend(&mut self, patience: PollTimeout) {
        let mut sources: Vec<PollFd> = Vec::new();
        for worker in &self.pool.workers {
            sources.extend(worker.interest());
        }
        retry(|| poll(&mut sources, patience)).expect("poll is given open descriptors");
        let news: Vec<[PollFlags; 3]> = sources
            .as_chunks()
            .0
            .iter()
            .map(|sources: &[PollFd; 3]| {
                sources.each_ref().map(|s| s.revents().unwrap_or(PollFlags::all()))
            })
            .collect();

        // From the last to the first, so that a worker can be removed on the way.
        for (n, [results, death, jobs]) in news.into_iter().enumerate().rev() {
            let worker = &mut self.pool.workers[n];
            let mut alive = death.is_empty() && !jobs.contains(PollFlags::POLLERR);
            if !results.is_empty() || !alive {
                // The pipe first: the last result may be in it, and whole.
                alive &= worker.pull();
            }
            if let Some(answer) = worker.inbox.next()
                && let Some(job) = worker.job.take()
            {
                self.shifts.push(job.shift(worker.child.pid(), false));
                let result = from_answer(&answer).map_err(JobError::Failed);
                self.done.push_back((job.number, result));
            }
            if alive {
                worker.push();
            } else {
                self.bury(n);
                if self.pool.broken {
                    return;
                }
            }
        }
    }

    /// Removes a dead worker, and does with its job what the policy says.
    fn bury(&mut self, n: usize) {
        let mut worker = self.pool.workers.swap_remove(n);
        self.pool.deaths += 1;
        let _ = worker.child.kill(Signal::SIGKILL); // in case it has only closed its pipes
        let Some(mut job) = worker.job.take() else {
            return;
        };
        if !worker.outbox.is_empty() {
            // It never had the whole of the job, and cannot have begun it.
            job.started -= 1;
            self.waiting.push_front(job);
            return;
        }
        self.shifts.push(job.shift(worker.child.pid(), true));
        match self.pool.on_death {
            OnDeath::Hang => return,
            OnDeath::Retry { times } if job.started < times => {
                self.waiting.push_front(job);
                return;
            }
            OnDeath::Retry { .. } | OnDeath::Report => {}
            OnDeath::BreakAll => {
                self.pool.broken = true;
                let unfinished = self.pool.workers.drain(..).filter_map(|mut w| w.job.take());
                self.waiting.extend(unfinished); // which dispatch gives up
            }
        }
        let last = match worker.child.reap() {
            Ok(status) => ProcessError::from(status),
            Err(error) => ProcessError::Io(error),
        };
        let started = job.started;
        self.done.push_back((job.number, Err(JobError::Lost { started, last })));
    }
}

impl<J, R> Iterator for Unordered<'_, '_, J, R>
where
    J: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    type Item = Done<R>;

    fn next(&mut self) -> Option<Done<R>> {
        self.next_until(None).expect("without a deadline nothing is late")
    }
}

impl<J, R> Drop for Unordered<'_, '_, J, R> {
    fn drop(&mut self) {
        // What they still do, nobody waits for; and their results would be taken for later ones.
        self.pool.workers.retain(|worker| worker.job.is_none());
    }
}

fn time_left(deadline: Option<Instant>) -> Result<PollTimeout, TimedOut> {
    let Some(deadline) = deadline else {
        return Ok(PollTimeout::NONE);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(TimedOut);
    }
    // Rounded up: a wait of 0 ms for the last microseconds would spin.
    Ok(PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX))
}

/// What a worker is told.
#[derive(Serialize, Deserialize)]
enum Order<J> {
    Work(J),
    Close,
}

/// A worker's whole life.
fn serve<J, R>(mut jobs: PipeReader, mut results: PipeWriter, work: impl Fn(J) -> R) -> i32
where
    J: DeserializeOwned,
    R: Serialize,
{
    let mut inbox = Frames::default();
    let mut buf = vec![0; 64 * 1024];
    loop {
        while let Some(frame) = inbox.next() {
            let answer = match serde_json::from_slice(&frame) {
                Ok(Order::Close) => return 0,
                Ok(Order::Work(job)) => to_answer(|| work(job)),
                Err(error) => to_answer(|| -> () { panic!("the job is unreadable: {error}") }),
            };
            // A panic ends the job and not the worker.
            let answer = answer.unwrap_or_else(|failure| failure);
            let _ = io::stdout().flush();
            if results.write_all(&answer).is_err() {
                return 1;
            }
        }
        match jobs.read(&mut buf) {
            Ok(0) | Err(_) => return 0, // the pool is gone
            Ok(n) => inbox.received(&buf[..n]),
        }
    }
}

struct Worker {
    child: Child,
    death: OwnedFd,
    jobs: PipeWriter,
    /// What the pipe of its jobs could not take yet.
    outbox: Vec<u8>,
    results: PipeReader,
    inbox: Frames,
    job: Option<Job>,
}

struct Job {
    number: usize,
    frame: Vec<u8>,
    /// How many workers have been given it, and the last one when.
    started: u32,
    since_us: u64,
}

impl Job {
    fn shift(&self, worker: Pid, died: bool) -> Shift {
        Shift { job: self.number, worker, from_us: self.since_us, to_us: now(), died }
    }
}

impl Worker {
    fn give(&mut self, mut job: Job) {
        job.started += 1;
        job.since_us = now();
        self.outbox.clone_from(&job.frame);
        self.job = Some(job);
        self.push();
    }

    /// Writes as much of the job as the pipe takes.
    fn push(&mut self) {
        while !self.outbox.is_empty() {
            match self.jobs.write(&self.outbox) {
                Ok(n) => drop(self.outbox.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Full: poll will tell when to go on. Or its reader is dead: poll will tell, too.
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.outbox.clear();
                    }
                    return;
                }
            }
        }
    }

    /// Reads what has arrived; false once nothing more can come.
    fn pull(&mut self) -> bool {
        let mut buf = [0; 16 * 1024];
        loop {
            match self.results.read(&mut buf) {
                Ok(0) => return false,
                Ok(n) => self.inbox.received(&buf[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn interest(&self) -> [PollFd<'_>; 3] {
        let space = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        [
            PollFd::new(self.results.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.death.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.jobs.as_fd(), space),
        ]
    }
}

const JOBS: usize = 8;
const DEADLY: usize = 3;
const WORKERS: usize = 2;
const WORK: Duration = Duration::from_millis(6);

/// What eight jobs come to, one of which takes its worker with it.
struct Trial {
    results: Vec<Option<Result<usize, JobError>>>,
    shifts: Vec<Shift>,
    broken: bool,
}

impl Trial {
    /// `deaths`: how many workers die of the deadly job before one can do it.
    fn run(on_death: OnDeath, deaths: u64) -> io::Result<Self> {
        let deaths = Shared::new([AtomicU64::new(deaths)])?;
        let work = |job: usize| {
            thread::sleep(WORK); // the job
            if job == DEADLY && deaths[0].load(Relaxed) > 0 {
                deaths[0].fetch_sub(1, Relaxed);
                // As the kernel does it, out of memory, to whom it chooses.
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
                // It would go on for ever.
                Err(TimedOut) if results.under_way() == 0 => break,
                Err(TimedOut) => {}
            }
        }
        let shifts = results.shifts().to_vec();
        drop(results);
        let broken = pool.broken;
        pool.terminate();
        Ok(Self { results: seen, shifts, broken })
    }

    fn done(&self) -> usize {
        self.results.iter().flatten().filter(|result| result.is_ok()).count()
    }

    fn fate(&self) -> String {
        match &self.results[DEADLY - 1] {
            Some(Ok(_)) => "done by another worker".into(),
            Some(Err(error)) if self.broken => format!("{error}, and all is given up"),
            Some(Err(error)) => error.to_string(),
            None => "nothing: whoever waits for it waits for ever".into(),
        }
    }

    /// A mark a job: done, lost, given up, or nothing.
    fn marks(&self) -> String {
        let mark = |result: &Option<Result<usize, JobError>>| match result {
            Some(Ok(_)) => " ✓",
            Some(Err(JobError::Broken)) => " –",
            Some(Err(_)) => " ✗",
            None => " …",
        };
        self.results.iter().map(mark).collect()
    }

    /// A line a worker, with the numbers of its jobs where it had them.
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

/// Four answers to a dead worker, then more deaths than any program should see.
pub fn aside(_: &Flags) -> Section {
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

/// A job that panics costs a result, no worker.
fn a_panic() -> io::Result<String> {
    let hook = panic::take_hook(); // which would print it: the workers inherit one that does not
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

/// Kills workers at random moments. How many jobs were done meanwhile, each exactly once, and the
/// time it took.
fn under_fire(kills: usize) -> io::Result<(usize, f64)> {
    const ROUND: usize = 100;
    let started = Instant::now();
    // Results of several times what a pipe holds: many are torn in the middle.
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
            // Not reaped before the pool looks again, the number is still the worker's.
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
