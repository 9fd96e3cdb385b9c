//! What a task did when: a span of time, its kind, and where it ran.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::Location;

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
    /// It could have run, but the operating system ran something else on the core.
    Preempted,
}

/// A part of one task's time, in microseconds of the system's monotonic clock, which is the same
/// for all processes.
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
    /// The source file, relative to the workspace, and the line after which a waiting task waits.
    /// Owned if it comes from another process.
    pub file: Option<Cow<'static, str>>,
    pub line: Option<u32>,
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
            file: None,
            line: None,
        }
    }

    /// The same, after this line of the style's code.
    #[must_use]
    pub fn at(self, place: &'static Location) -> Span {
        Span { file: Some(place.file().into()), line: Some(place.line()), ..self }
    }

    /// Whether this is the same work on the same thread, with almost no gap.
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

/// How many tasks ran between the beginning and the end of another task: all of them if they take
/// turns or run at once, none if each runs to its end before the next begins.
pub fn interleaved(spans: &[Span]) -> usize {
    let mut times: HashMap<usize, (u64, u64)> = HashMap::new();
    for span in spans.iter().filter(|span| span.kind != Kind::Waiting) {
        let (from, to) = times.entry(span.task).or_insert((span.from_us, span.to_us));
        (*from, *to) = ((*from).min(span.from_us), (*to).max(span.to_us));
    }
    let beside = |task: &usize, from: u64, to: u64| {
        times.iter().any(|(other, &(begin, end))| other != task && begin < to && from < end)
    };
    times.iter().filter(|&(task, &(from, to))| beside(task, from, to)).count()
}

/// How often a task ran after a different task, in the order of time.
pub fn turns(spans: &[Span]) -> usize {
    let mut ran: Vec<_> = spans.iter().filter(|span| span.kind == Kind::Running).collect();
    ran.sort_by_key(|span| span.from_us);
    ran.windows(2).filter(|pair| pair[0].task != pair[1].task).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_take_turns_are_told_from_a_succession() {
        let span = |task, from_us, to_us| Span {
            task,
            kind: Kind::Running,
            from_us,
            to_us,
            pid: 1,
            thread: 1,
            file: None,
            line: None,
        };
        let succession = [span(0, 0, 10), span(1, 10, 20), span(2, 20, 30)];
        assert_eq!((interleaved(&succession), turns(&succession)), (0, 2));
        let turn = [span(0, 0, 10), span(1, 10, 20), span(0, 20, 30), span(2, 30, 40)];
        assert_eq!((interleaved(&turn), turns(&turn)), (2, 3));
    }
}
