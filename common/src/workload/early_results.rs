//! early-results: take each page as it arrives, then cancel the rest. Slide 27.

use std::ops::ControlFlow;

use crate::span::now;
use crate::workload::io_bound::Outcome;

/// The consumer: takes the pages one at a time, and stops after some of them.
pub struct Arrivals {
    take: usize,
    pub(crate) outcomes: Vec<Outcome>,
    /// When each was taken, in microseconds of the monotonic clock.
    pub(crate) taken_us: Vec<u64>,
}

impl Default for Arrivals {
    /// Takes all pages.
    fn default() -> Arrivals {
        Arrivals::take(usize::MAX)
    }
}

impl Arrivals {
    /// Takes `take` pages.
    pub fn take(take: usize) -> Arrivals {
        Arrivals { take, outcomes: Vec::new(), taken_us: Vec::new() }
    }

    /// Takes a page. `Break` when that is enough: the pages under way are no longer wanted.
    pub fn push(&mut self, outcome: Outcome) -> ControlFlow<()> {
        self.taken_us.push(now());
        self.outcomes.push(outcome);
        if self.outcomes.len() < self.take {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_consumer_stops_when_it_has_enough() {
        let outcome =
            || Outcome { task: 0, page: "/".into(), result: Err("no".into()), spans: vec![] };
        let mut arrivals = Arrivals::take(2);
        assert!(arrivals.push(outcome()).is_continue());
        assert!(arrivals.push(outcome()).is_break());
        assert!(Arrivals::default().push(outcome()).is_continue());
    }
}
