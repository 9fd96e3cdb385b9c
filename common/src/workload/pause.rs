//! pause: one side produces; the other pauses it, resumes it, stops it. Slide 27.

use std::time::Duration;

/// What is paused: it counts from 1, without end.
#[derive(Clone, Debug)]
pub struct Counter {
    counted: u32,
    hold: Duration,
}

impl Counter {
    /// How many numbers it makes before it is paused, and how many after that.
    pub const HALF: u32 = 3;

    pub fn new(hold: Duration) -> Counter {
        Counter { counted: 0, hold }
    }

    /// The next number.
    pub fn count(&mut self) -> u32 {
        self.counted += 1;
        self.counted
    }

    /// How long it is kept paused.
    pub fn hold(&self) -> Duration {
        self.hold
    }
}

/// What the controller saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paused {
    /// The numbers that came before the pause.
    pub before: Vec<u32>,
    /// How many had been made when the producer confirmed that it was paused.
    pub at_confirm: u32,
    /// How many had been made when it was resumed.
    pub at_resume: u32,
    /// The numbers that came after that.
    pub after: Vec<u32>,
    /// How many had been made when it had ended.
    pub at_end: u32,
}

impl Paused {
    /// What the controller must have seen.
    pub fn expected() -> Paused {
        let half = Counter::HALF;
        Paused {
            before: (1..=half).collect(),
            at_confirm: half,
            at_resume: half,
            after: (half + 1..=2 * half).collect(),
            at_end: 2 * half,
        }
    }
}
