//! The threads for blocking work: `twisted.python.threadpool`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

type Call = Box<dyn FnOnce()>;

/// The threads for blocking work (`twisted.python.threadpool`): started when there is a job and all
/// are busy, joined when the reactor is dropped.
pub(super) struct ThreadPool {
    pub(super) size: usize,
    threads: Vec<JoinHandle<()>>,
    jobs: Arc<Jobs>,
    pub(super) waiting: Waiting,
}

#[derive(Default)]
struct Jobs {
    queue: Mutex<JobQueue>,
    changed: Condvar,
}

#[derive(Default)]
struct JobQueue {
    jobs: VecDeque<Box<dyn FnOnce() + Send>>,
    idle: usize,
    closed: bool,
}

/// What to call on the reactor's thread when a job has ended. It stays on that thread: a Deferred
/// cannot move to another one.
#[derive(Default)]
pub(super) struct Waiting {
    calls: HashMap<u64, Call>,
    made: u64,
}

impl Waiting {
    pub(super) fn insert(&mut self, call: Call) -> u64 {
        self.made += 1;
        self.calls.insert(self.made, call);
        self.made
    }

    pub(super) fn remove(&mut self, job: u64) -> Option<Call> {
        self.calls.remove(&job)
    }
}

impl ThreadPool {
    pub(super) fn new() -> ThreadPool {
        ThreadPool {
            size: 10,
            threads: Vec::new(),
            jobs: Arc::default(),
            waiting: Waiting::default(),
        }
    }

    pub(super) fn start(&mut self, job: Box<dyn FnOnce() + Send>) {
        let mut queue = self.jobs.lock();
        queue.jobs.push_back(job);
        let enough = queue.idle >= queue.jobs.len();
        drop(queue);
        if enough || self.threads.len() >= self.size {
            self.jobs.changed.notify_one();
            return;
        }
        let jobs = self.jobs.clone();
        let thread = thread::Builder::new().name("defer_to_thread".to_string());
        match thread.spawn(move || jobs.work()) {
            Ok(thread) => self.threads.push(thread),
            // The job waits for a busy thread. Without any thread it could never run.
            Err(error) => assert!(!self.threads.is_empty(), "no thread for the pool: {error}"),
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        let mut queue = self.jobs.lock();
        queue.closed = true; // when all jobs are done
        drop(queue);
        self.jobs.changed.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().expect("a job's panic is caught in the job");
        }
    }
}

impl Jobs {
    fn lock(&self) -> std::sync::MutexGuard<'_, JobQueue> {
        // No code under this lock can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.lock();
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}
