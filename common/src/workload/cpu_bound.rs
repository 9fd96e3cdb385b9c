//! cpu-bound: count primes, several counts at once. Slides 3, 9-11, 18-20, 24-26.

use serde::{Deserialize, Serialize};

use crate::span::{Kind, Span, now, thread_cpu};

/// Candidates per slice: well under a millisecond of work, so that a task can yield often.
pub(crate) const SLICE: u64 = 5000;

/// A slice that took this much longer than its CPU time was preempted, in microseconds.
const PREEMPTED: u64 = 500;

/// Counts the primes below a number by trial division, in slices.
#[derive(Clone, Debug)]
pub struct Count {
    task: usize,
    below: u64,
    slice: u64,
    next: u64,
    primes: u64,
    spans: Vec<Span>,
}

/// A finished count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    pub task: usize,
    pub below: u64,
    pub primes: u64,
    pub spans: Vec<Span>,
}

impl Count {
    pub fn new(task: usize, below: u64) -> Count {
        Count::in_slices_of(SLICE, task, below)
    }

    /// A count that reaches a safe point every `slice` candidates.
    pub fn in_slices_of(slice: u64, task: usize, below: u64) -> Count {
        Count { task, below, slice, next: 2, primes: 0, spans: Vec::new() }
    }

    /// Counts a little further; `true` while there is more to do.
    pub fn slice(&mut self) -> bool {
        let (from, cpu) = (now(), thread_cpu());
        let to = self.below.min(self.next + self.slice);
        self.primes += (self.next..to).filter(|&n| is_prime(n)).count() as u64;
        self.next = self.next.max(to);
        self.record(from, thread_cpu() - cpu);
        self.next < self.below
    }

    /// The result.
    pub fn finish(self) -> Counted {
        let Count { task, below, primes, spans, .. } = self;
        Counted { task, below, primes, spans }
    }

    fn record(&mut self, from: u64, cpu: u64) {
        let to = now();
        let ran = if to - from > cpu + PREEMPTED { from + cpu } else { to };
        let span = Span::here(self.task, Kind::Running, from, ran);
        match self.spans.last_mut() {
            Some(last) if span.continues(last) => last.to_us = ran,
            _ => self.spans.push(span),
        }
        if ran < to {
            self.spans.push(Span::here(self.task, Kind::Preempted, ran, to));
        }
    }
}

fn is_prime(n: u64) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= n {
        if n.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    n >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_that_follow_each_other_are_one_span() {
        let mut count = Count::new(0, 10 * SLICE);
        while count.slice() {}
        let counted = count.finish();
        let running = counted.spans.iter().filter(|s| s.kind == Kind::Running).count();
        let preempted = counted.spans.len() - running;
        assert!(running <= preempted + 10, "{:?}", counted.spans);
    }
}
