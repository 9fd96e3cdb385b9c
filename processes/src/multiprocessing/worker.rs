//! One worker of a pool: what it does in its process, and what the pool knows of it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use common::span::now;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::child::Child;
use super::connection::Frames;
use super::process::to_answer;

/// What a worker is told.
#[derive(Serialize, Deserialize)]
pub enum Order<J> {
    Work(J),
    Close,
}

/// A worker's whole life.
pub fn serve<J, R>(mut jobs: PipeReader, mut results: PipeWriter, work: impl Fn(J) -> R) -> i32
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

pub struct Worker {
    pub child: Child,
    pub death: OwnedFd,
    pub jobs: PipeWriter,
    /// What the pipe of its jobs could not take yet.
    pub outbox: Vec<u8>,
    pub results: PipeReader,
    pub inbox: Frames,
    pub job: Option<Job>,
}

pub struct Job {
    pub number: usize,
    pub frame: Vec<u8>,
    /// How many workers have been given it, and the last one when.
    pub started: u32,
    pub since_us: u64,
}

impl Job {
    pub fn shift(&self, worker: Pid, died: bool) -> Shift {
        Shift { job: self.number, worker, from_us: self.since_us, to_us: now(), died }
    }
}

impl Worker {
    pub fn give(&mut self, mut job: Job) {
        job.started += 1;
        job.since_us = now();
        self.outbox.clone_from(&job.frame);
        self.job = Some(job);
        self.push();
    }

    /// Writes as much of the job as the pipe takes.
    pub fn push(&mut self) {
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

    pub fn interest(&self) -> [PollFd<'_>; 3] {
        let space = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        [
            PollFd::new(self.results.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.death.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.jobs.as_fd(), space),
        ]
    }
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
