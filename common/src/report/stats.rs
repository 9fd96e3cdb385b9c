//! Repeated measurements: their median and their spread.

use std::time::Instant;

use crate::machine::{Machine, profile};

/// Wall times of repeated runs, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Times {
    pub seconds: Vec<f64>,
}

impl Times {
    /// Runs `work` and keeps how long it took.
    pub fn time<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.seconds.push(start.elapsed().as_secs_f64());
        result
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// How certain a time is: one run, or a median and its spread.
    pub fn note(&self, machine: &Machine) -> String {
        let (low, high) = self
            .seconds
            .iter()
            .fold((f64::MAX, 0.0_f64), |(low, high), &s| (low.min(s), high.max(s)));
        match self.seconds.len() {
            1 if machine.cores == 1 => format!("1 run, {}, 1 core", profile()),
            1 => format!("1 run, {}, {} cores", profile(), machine.cores),
            n => format!("{n} runs, {low:.3}–{high:.3}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        let median = |seconds: &[f64]| Times { seconds: seconds.to_vec() }.median();
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
