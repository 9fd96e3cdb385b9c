//! interactivity: a heart beats while another task computes. Slides 15, 28, 33.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::span::{Kind, Span, now};
use crate::workload::cpu_bound::Counted;

/// From one beat to the next, in microseconds.
pub(crate) const INTERVAL: u64 = 10_000;

/// Beats every ten milliseconds, and notes when it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heart {
    beats: usize,
    spans: Vec<Span>,
}

impl Heart {
    /// A heart that will beat this many times.
    pub fn new(beats: usize) -> Heart {
        Heart { beats, spans: Vec::new() }
    }

    /// Beats; `true` while there is another beat to come.
    pub fn beat(&mut self) -> bool {
        let now = now();
        self.spans.push(Span::here(0, Kind::Running, now, now));
        self.spans.len() < self.beats
    }

    /// How long it is until the next beat: zero if that is late. Each beat has a fixed time,
    /// counted from the first one, so that a late beat does not delay the next ones.
    pub fn pause(&self) -> Duration {
        let first = self.spans.first().map_or_else(now, |s| s.from_us);
        let due = first + self.spans.len() as u64 * INTERVAL;
        Duration::from_micros(due.saturating_sub(now()))
    }

    /// The beats, and the count that ran beside them.
    pub fn finish(self, counted: Counted) -> Beats {
        Beats { spans: self.spans, counted }
    }
}

/// The result of a heart and a count.
#[derive(Clone, Debug)]
pub struct Beats {
    /// A span without length for each beat.
    pub(crate) spans: Vec<Span>,
    pub(crate) counted: Counted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_has_its_beats_and_no_more() {
        let mut heart = Heart::new(3);
        let mut beats = 1;
        while heart.beat() {
            assert!(heart.pause() <= Duration::from_micros(beats * INTERVAL));
            beats += 1;
        }
        assert_eq!(beats, 3);
        assert_eq!(heart.spans.len(), 3);
    }
}
