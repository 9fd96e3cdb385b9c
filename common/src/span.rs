//! What a task did when: a span of time, its kind, and where it ran.

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a task did during a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It waited for an answer, and needed no CPU.
    Waiting,
    /// It ran.
    Running,
    /// It could have run, but the operating system had taken the core away.
    Preempted,
}

/// A piece of one task's time, in microseconds of the system's monotonic clock, which is one
/// and the same for all processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub task: usize,
    pub kind: Kind,
    pub from_us: u64,
    pub to_us: u64,
    /// The process it ended in.
    pub pid: i32,
    /// The kernel's number of the thread it ended in.
    pub thread: i32,
}

impl Span {
    /// A span that ends in the calling thread.
    pub fn here(task: usize, kind: Kind, from_us: u64, to_us: u64) -> Span {
        Span {
            task,
            kind,
            from_us,
            to_us,
            pid: nix::unistd::getpid().as_raw(),
            thread: nix::unistd::gettid().as_raw(),
        }
    }

    /// Whether this is the same work on the same thread going on, without a gap to speak of.
    pub fn continues(&self, last: &Span) -> bool {
        let same = (self.task, self.kind, self.pid, self.thread);
        same == (last.task, last.kind, last.pid, last.thread) && self.from_us - last.to_us < 50
    }
}

/// Microseconds of the monotonic clock.
pub fn now() -> u64 {
    micros(ClockId::CLOCK_MONOTONIC)
}

/// Microseconds of CPU that the calling thread has used.
pub fn thread_cpu() -> u64 {
    micros(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000
}

/// How many threads, of all processes, the spans ended in.
pub fn threads(spans: &[Span]) -> usize {
    let mut seen: Vec<_> = spans.iter().map(|s| (s.pid, s.thread)).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}
