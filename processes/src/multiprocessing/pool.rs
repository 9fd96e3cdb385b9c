//! A pool of worker processes that survives the death of any of them.
//!
//! Like `multiprocessing.Pool`: `map`, `imap_unordered`, `close`, `terminate`. But each worker has
//! its own pipe for jobs and its own pipe for results. Python's workers share one queue for each
//! direction: a worker that is killed while it holds the lock of the queue stops all others.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::iter::Fuse;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{ProcessError, from_answer};
use super::child::{End, not_ours};
pub use super::worker::Shift;
use super::worker::{Job, Worker};

/// What happens to a job whose worker died: the four policies of pools.
///
/// A worker that died before it had read its whole job cannot have begun it. Then, with every
/// policy but `BreakAll`, the job goes to another worker, at most five times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeath {
    /// Nothing: a new worker is started, and a caller that waits for the job waits forever.
    /// (`multiprocessing.Pool`)
    Hang,
    /// The pool is broken: it does no unfinished job and no later one. The death of an idle worker
    /// is enough. (`concurrent.futures.ProcessPoolExecutor`: `BrokenProcessPool`)
    BreakAll,
    /// The job is lost, and its result says so. The other jobs are not affected.
    Report,
    /// The job is started again on a new worker, and is lost once it has been started this many
    /// times. Only for jobs that may be done twice: it is unknown how far the dead worker came.
    Retry { times: u32 },
}

/// How many workers may die before they have read a job.
const DELIVERIES: u32 = 5;

/// Why a job has no result.
#[derive(Debug)]
pub enum JobError {
    /// The job panicked; or the job or its result cannot be sent.
    Failed(ProcessError),
    /// Its workers died, as often as the policy allows.
    Lost { started: u32, last: ProcessError },
    /// Another worker died, and the policy is [`OnDeath::BreakAll`].
    Broken,
    /// No worker could be started for it, for this reason.
    NoWorker(String),
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Lost { started: 0, last } => write!(f, "lost before it was started: {last}"),
            Self::Lost { started: 1, last } => write!(f, "lost: {last}"),
            Self::Lost { started, last } => write!(f, "lost, started {started} times: {last}"),
            Self::Broken => write!(f, "not done: the pool is broken"),
            Self::NoWorker(reason) => write!(f, "not done: {reason}"),
        }
    }
}

impl std::error::Error for JobError {}

/// The number of a job, in the order in which the jobs were given, and its result.
pub type Done<R> = (usize, Result<R, JobError>);

/// Worker processes that all do the same work on one job after another.
///
/// Dropping it terminates it. It belongs to the process that made it. In a process that was forked
/// later, the copy does no jobs, and does nothing when it is dropped.
pub struct Pool<'w, J, R> {
    workers: Vec<Worker>,
    size: usize,
    on_death: OnDeath,
    broken: bool,
    deaths: usize,
    owner: Pid,
    /// The number of the last job of this pool.
    ticket: u64,
    work: Box<dyn Fn(J) -> R + 'w>,
}

impl<'w, J, R> Pool<'w, J, R>
where
    J: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    /// Starts `size` workers. Each has a copy of this process as it is now, and later receives
    /// nothing but jobs.
    ///
    /// # Errors
    /// No process or no descriptor left, with the limit in the message; this process has other
    /// threads; `size` is 0.
    pub fn new(size: usize, on_death: OnDeath, work: impl Fn(J) -> R + 'w) -> io::Result<Self> {
        if size == 0 {
            let error = "a pool needs at least one worker";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let mut pool = Self {
            workers: Vec::new(),
            size,
            on_death,
            broken: false,
            deaths: 0,
            owner: Pid::this(),
            ticket: 0,
            work: Box::new(work),
        };
        pool.start_workers()?;
        Ok(pool)
    }

    /// Does all jobs and returns their results in the order of the jobs.
    pub fn map(&mut self, jobs: impl IntoIterator<Item = J>) -> Vec<Result<R, JobError>> {
        let mut all: Vec<Done<R>> = self.imap_unordered(jobs).collect();
        all.sort_by_key(|(job, _)| *job);
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// Does all jobs. Each result comes as soon as it is there, with the number of its job. A job
    /// is taken when a worker is free for it, so the iterator of jobs may be endless. When the
    /// returned iterator is dropped, jobs under way are cancelled: their workers are killed.
    pub fn imap_unordered<'p, I>(&'p mut self, jobs: I) -> Unordered<'p, 'w, J, R>
    where
        I: IntoIterator<Item = J>,
        I::IntoIter: 'p,
    {
        self.cancel(); // an earlier iterator may have been forgotten, not dropped
        let jobs: Box<dyn Iterator<Item = (usize, J)> + 'p> =
            Box::new(jobs.into_iter().enumerate());
        Unordered {
            pool: self,
            jobs: jobs.fuse(),
            again: VecDeque::new(),
            done: VecDeque::new(),
            unanswered: 0,
            no_worker: None,
            shifts: Vec::new(),
        }
    }

    /// The numbers of the workers' processes.
    pub fn pids(&self) -> Vec<Pid> {
        self.workers.iter().map(|w| w.child.pid()).collect()
    }

    /// How many workers have died so far, as far as the pool knows.
    pub fn deaths(&self) -> usize {
        self.deaths
    }

    /// Whether a worker died, under [`OnDeath::BreakAll`].
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Lets the workers finish and waits for them.
    pub fn close(mut self) {
        if self.owner == Pid::this() {
            for worker in &mut self.workers {
                worker.dismiss();
            }
            for worker in &mut self.workers {
                let _ = worker.child.reap();
            }
        }
    }

    /// Kills the workers, even in the middle of a job.
    pub fn terminate(self) {
        drop(self);
    }

    /// Starts workers until there are as many as there should be.
    fn start_workers(&mut self) -> io::Result<()> {
        while self.workers.len() < self.size {
            // A worker has copies of the pipe ends that belong to the workers started before it.
            let siblings = &mut self.workers;
            let worker = Worker::start(|| siblings.clear(), &*self.work)?;
            self.workers.push(worker);
        }
        Ok(())
    }
}

impl<J, R> Pool<'_, J, R> {
    /// Kills the workers that have a job: its result is no longer wanted.
    fn cancel(&mut self) {
        self.workers.retain(|worker| worker.job.is_none());
    }
}

/// The results of [`Pool::imap_unordered`], as they arrive.
pub struct Unordered<'p, 'w, J, R> {
    pool: &'p mut Pool<'w, J, R>,
    jobs: Fuse<Box<dyn Iterator<Item = (usize, J)> + 'p>>,
    /// Jobs whose worker died, to be done by another worker.
    again: VecDeque<Job>,
    done: VecDeque<Done<R>>,
    /// How many jobs will never have a result ([`OnDeath::Hang`]).
    unanswered: usize,
    /// Why no worker could be started. It is tried again after the next death.
    no_worker: Option<String>,
    shifts: Vec<Shift>,
}

/// No result came within the caller's timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl<J, R> Unordered<'_, '_, J, R>
where
    J: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    /// Waits for the next result, with a timeout: Python's `IMapIterator.next(timeout)`.
    ///
    /// # Errors
    /// No result came in time. The jobs go on, and it may come later.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Done<R>>, TimedOut> {
        self.next_until(Instant::now().checked_add(timeout))
    }

    /// The numbers of the workers' processes.
    pub fn pids(&self) -> Vec<Pid> {
        self.pool.pids()
    }

    /// How many jobs are with a worker, or wait for another one. If there are none, a result that
    /// is missing will never come ([`OnDeath::Hang`]).
    pub fn under_way(&self) -> usize {
        self.again.len() + self.pool.workers.iter().filter(|w| w.job.is_some()).count()
    }

    /// Which worker had which job when, including the workers that died.
    pub fn shifts(&self) -> &[Shift] {
        &self.shifts
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Done<R>>, TimedOut> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Ok(Some(done));
            }
            if self.pool.owner == Pid::this() {
                self.attend(PollTimeout::ZERO); // so that no dead worker gets a job
                self.give_jobs();
            } else {
                self.refuse(&not_ours(self.pool.owner).to_string());
            }
            if self.done.is_empty() {
                if self.under_way() + self.unanswered == 0 {
                    return Ok(None);
                }
                self.attend(time_left(deadline)?);
            }
        }
    }

    /// The next job, encoded. A job that cannot be encoded gets its error as its result.
    fn take_job(&mut self) -> Option<Job> {
        if let Some(job) = self.again.pop_front() {
            return Some(job);
        }
        let (number, job) = self.jobs.next()?;
        self.pool.ticket += 1;
        match Job::new(number, self.pool.ticket, job) {
            Ok(job) => Some(job),
            Err(reason) => {
                let failed = JobError::Failed(ProcessError::Unsendable(reason));
                self.done.push_back((number, Err(failed)));
                None
            }
        }
    }

    /// Gives the next job to each worker that has none, and replaces dead workers.
    fn give_jobs(&mut self) {
        if self.pool.broken {
            if let Some(job) = self.take_job() {
                self.done.push_back((job.number, Err(JobError::Broken)));
            }
            return;
        }
        for n in 0..self.pool.size {
            if self.pool.workers.get(n).is_some_and(|worker| worker.job.is_some()) {
                continue;
            }
            // Fewer workers than wanted are no reason to stop.
            if n == self.pool.workers.len() && self.no_worker.is_some() {
                break;
            }
            let Some(job) = self.take_job() else { return };
            if n == self.pool.workers.len() {
                self.no_worker = self.pool.start_workers().err().map(|error| error.to_string());
            }
            match self.pool.workers.get_mut(n) {
                Some(worker) => worker.give(job),
                None => self.again.push_front(job),
            }
        }
        if self.pool.workers.is_empty()
            && let Some(reason) = self.no_worker.clone()
        {
            self.refuse(&reason);
        }
    }

    /// Fails all jobs that are left: there will be no worker for them.
    fn refuse(&mut self, reason: &str) {
        let with_workers = self.pool.workers.iter_mut().filter_map(|worker| worker.job.take());
        let mut numbers: Vec<usize> = with_workers.map(|job| job.number).collect();
        numbers.extend(self.again.drain(..).map(|job| job.number));
        if numbers.is_empty() {
            numbers.extend(self.jobs.next().map(|(number, _)| number));
        }
        for number in numbers {
            self.done.push_back((number, Err(JobError::NoWorker(reason.to_owned()))));
        }
    }

    /// Waits until something happens to a worker, and handles everything that has happened.
    fn attend(&mut self, timeout: PollTimeout) {
        let mut sources: Vec<PollFd> = Vec::new();
        for worker in &self.pool.workers {
            sources.extend(worker.interest());
        }
        match poll(&mut sources, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return, // the caller checks the time and calls again
            Err(errno) => {
                // EINVAL: more descriptors than the process may have open now.
                let reason = format!("the workers cannot be waited for: {errno} (ulimit -n)");
                self.refuse(&reason);
                return self.pool.workers.clear();
            }
        }
        let news: Vec<[PollFlags; 3]> = sources
            .as_chunks()
            .0
            .iter()
            .map(|sources: &[PollFd; 3]| {
                sources.each_ref().map(|s| s.revents().unwrap_or(PollFlags::all()))
            })
            .collect();

        // From the last to the first, so that a worker can be removed in the loop.
        for (n, [results, death, jobs]) in news.into_iter().enumerate().rev() {
            let worker = &mut self.pool.workers[n];
            let mut alive = death.is_empty() && !jobs.contains(PollFlags::POLLERR);
            if !results.is_empty() || !alive {
                // The pipe first: it may contain the last result, complete.
                alive &= worker.pull();
            }
            if let Some((job, answer)) = worker.take_done() {
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

    /// Removes a dead worker, and handles its job as the policy says.
    fn bury(&mut self, n: usize) {
        let mut worker = self.pool.workers.swap_remove(n);
        self.pool.deaths += 1;
        self.no_worker = None;
        if self.pool.on_death == OnDeath::BreakAll {
            self.pool.broken = true;
            let unfinished = self.pool.workers.drain(..).filter_map(|mut w| w.job.take());
            self.again.extend(unfinished); // `give_jobs` fails them
        }
        let _ = worker.child.kill(Signal::SIGKILL); // in case it has only closed its pipes
        let begun = worker.has_read_its_job();
        let Some(mut job) = worker.job.take() else {
            return;
        };
        if begun {
            job.started += 1;
            self.shifts.push(job.shift(worker.child.pid(), true));
        } else {
            job.unread += 1;
        }
        let again = match self.pool.on_death {
            OnDeath::BreakAll => false,
            OnDeath::Retry { times } if begun => job.started < times,
            OnDeath::Retry { times } => job.unread < times.max(DELIVERIES),
            OnDeath::Hang | OnDeath::Report => !begun && job.unread < DELIVERIES,
        };
        if again {
            return self.again.push_front(job);
        }
        if self.pool.on_death == OnDeath::Hang {
            self.unanswered += 1;
            return;
        }
        let last = ProcessError::Ended(worker.child.reap().unwrap_or(End::Unknown));
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
        self.pool.cancel();
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
    let left = left.saturating_add(Duration::from_micros(999));
    Ok(PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))
}
