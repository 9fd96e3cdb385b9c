//! A pool of worker processes that survives the death of any of them.
//!
//! Like `multiprocessing.Pool`: `map`, `imap_unordered`, `close`, `terminate`. Unlike it, each
//! worker has a pipe for its jobs and a pipe for its results to itself. Python's workers share one
//! queue each way, so that one that is killed while it holds the queue's lock stops all others.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::child::{Child, retry};
use super::connection::{Frames, to_frame};
use super::process::{ProcessError, from_answer};
pub use super::worker::Shift;
use super::worker::{Job, Order, Worker, serve};

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
    pub broken: bool,
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
