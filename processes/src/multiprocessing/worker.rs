//! One worker of a pool: what runs in its process, and what the pool knows about it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd};

use common::span::now;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answer::{to_answer, unreadable};
use super::child::{Child, not_started};
use super::connection::{Frames, decode, encode, to_frame};

/// A message to a worker.
#[derive(Serialize, Deserialize)]
enum Order<J> {
    Work(J),
    Close,
}

/// The main loop of a worker.
fn serve<J, R>(mut jobs: PipeReader, mut results: PipeWriter, work: &dyn Fn(J) -> R) -> i32
where
    J: DeserializeOwned,
    R: Serialize,
{
    let mut inbox = Frames::default();
    let mut buf = vec![0; 64 * 1024];
    loop {
        while let Some((number, order)) = inbox.next() {
            let answer = match decode(&order) {
                Ok(Order::Close) => return 0,
                // A panic ends the job, but not the worker.
                Ok(Order::Work(job)) => to_answer(|| work(job)).unwrap_or_else(|failure| failure),
                Err(reason) => unreadable(reason),
            };
            let _ = io::stdout().flush();
            if results.write_all(&to_frame(number, &answer)).is_err() {
                return 1;
            }
        }
        match jobs.read(&mut buf) {
            Ok(0) => return 0, // the pool is gone
            Ok(n) => inbox.received(&buf[..n]),
            // The signal handlers of the parent are inherited.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return 1,
        }
    }
}

/// What the pool knows about a worker.
pub struct Worker {
    pub child: Child,
    jobs: PipeWriter,
    results: PipeReader,
    inbox: Frames,
    pub job: Option<Job>,
}

/// A job, encoded, until it has a result.
pub struct Job {
    /// Its position among the jobs of the call that brought it.
    pub number: usize,
    /// Its number in this pool: an answer with another number is not its answer.
    ticket: u64,
    frame: Vec<u8>,
    /// How many of its bytes are written to the pipe of its worker.
    sent: usize,
    /// How many workers have begun it, and how many died before they had read it.
    pub started: u32,
    pub unread: u32,
    since_us: u64,
}

/// A job's time with a worker, in microseconds of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Shift {
    pub job: usize,
    pub worker: Pid,
    pub from_us: u64,
    pub to_us: u64,
    /// Whether it ended with the death of the worker, not with a result.
    pub died: bool,
}

impl Job {
    /// # Errors
    /// The reason why its type cannot be sent.
    pub fn new<J: Serialize>(number: usize, ticket: u64, job: J) -> Result<Self, String> {
        let frame = to_frame(ticket, &encode(&Order::Work(job))?);
        Ok(Self { number, ticket, frame, sent: 0, started: 0, unread: 0, since_us: 0 })
    }

    pub fn shift(&self, worker: Pid, died: bool) -> Shift {
        Shift { job: self.number, worker, from_us: self.since_us, to_us: now(), died }
    }
}

impl Worker {
    /// Forks a worker. `forget` runs in it, to drop what it has inherited and should not hold.
    ///
    /// # Errors
    /// No process or no descriptor left, or this process has other threads.
    pub fn start<J, R>(forget: impl FnOnce(), work: &dyn Fn(J) -> R) -> io::Result<Self>
    where
        J: DeserializeOwned,
        R: Serialize,
    {
        let (jobs_out, jobs) = io::pipe().map_err(not_started)?;
        let (results, results_in) = io::pipe().map_err(not_started)?;
        // The parent has one wait for all of them.
        fcntl(&jobs, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&results, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut ours = Some((jobs, results));
        let child = Child::fork(|| {
            ours = None; // this copy of the parent's ends, not the parent's
            forget();
            serve(jobs_out, results_in, work)
        })?;
        let (jobs, results) = ours.expect("only the child drops its copy");
        Ok(Self { child, jobs, results, inbox: Frames::default(), job: None })
    }

    pub fn give(&mut self, mut job: Job) {
        job.sent = 0;
        job.since_us = now();
        self.job = Some(job);
        self.push();
    }

    /// Writes as much of the job as the pipe takes.
    pub fn push(&mut self) {
        let Some(job) = &mut self.job else { return };
        while let Some(rest @ [_, ..]) = job.frame.get(job.sent..) {
            match self.jobs.write(rest) {
                Ok(n) => job.sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The pipe is full, or its reader is dead: in both cases poll reports the next
                // event.
                Err(_) => return,
            }
        }
    }

    /// Reads what has arrived. False if nothing more can come.
    pub fn pull(&mut self) -> bool {
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

    /// The job that is done, and its answer, if that has arrived completely.
    pub fn take_done(&mut self) -> Option<(Job, Vec<u8>)> {
        loop {
            let (ticket, answer) = self.inbox.next()?;
            if let Some(job) = self.job.take_if(|job| job.ticket == ticket) {
                return Some((job, answer));
            }
        }
    }

    /// Whether the worker has read its job to the last byte, and so may have begun it.
    pub fn has_read_its_job(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.sent == job.frame.len()) && unread(&self.jobs) == 0
    }

    /// Tells it to end.
    pub fn dismiss(&mut self) {
        // An explicit message, because the end of file is not reliable: a process that was forked
        // later may hold a copy of this end.
        let farewell = encode(&Order::<()>::Close).expect("a word can be encoded");
        let _ = self.jobs.write_all(&to_frame(0, &farewell));
    }

    pub fn interest(&self) -> [PollFd<'_>; 3] {
        let full = self.job.as_ref().is_some_and(|job| job.sent < job.frame.len());
        let space = if full { PollFlags::POLLOUT } else { PollFlags::empty() };
        let death = self.child.pidfd().unwrap_or(self.results.as_fd());
        [
            PollFd::new(self.results.as_fd(), PollFlags::POLLIN),
            PollFd::new(death, PollFlags::POLLIN),
            PollFd::new(self.jobs.as_fd(), space),
        ]
    }
}

/// How many unread bytes a pipe contains (`man 2const FIONREAD`).
#[expect(unsafe_code, reason = "std has no such question")]
fn unread(pipe: &PipeWriter) -> i32 {
    let mut bytes = 0;
    // SAFETY: the call writes one number, into `bytes`.
    unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    bytes
}
