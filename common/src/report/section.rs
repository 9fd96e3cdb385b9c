//! The results of one workload or aside.

use serde_json::{Map, Value, json};

use crate::machine;
use crate::report::stats::Times;
use crate::report::timeline;
use crate::report::verdict::Verdict;
use crate::span::Span;

/// What a workload is expected to show, in the same words in every style, judged by this run.
#[derive(Debug)]
pub struct Expectation {
    pub says: &'static str,
    pub verdict: Verdict,
}

/// The results of one workload or aside.
#[derive(Debug, Default)]
pub struct Section {
    /// The answer, one line each: stdout, the same in all styles.
    pub answer: Vec<String>,
    /// What was measured, in text: stderr.
    pub shown: Vec<String>,
    /// What was measured, for the JSON.
    pub measured: Map<String, Value>,
    pub wall_s: Option<f64>,
    pub baseline_s: Option<f64>,
    pub limit_s: Option<f64>,
    /// Seconds of CPU that the style's code used, of each run.
    pub cpu: Times,
    /// The most memory that was resident at once, in KiB, if all of it is in this process.
    pub peak_kib: Option<u64>,
    /// What the figures are drawn as: an object with a `kind`, and its data.
    pub picture: Value,
    /// What every style is expected to show here, and the verdict.
    pub expectation: Option<Expectation>,
    pub spans: Vec<Span>,
    /// Why the answer is not as it should be.
    pub wrong: Option<String>,
}

impl Section {
    /// Takes the answer of a run; a repeated run must give the same one.
    pub fn answers(&mut self, lines: Vec<String>) {
        if !self.answer.is_empty() && self.answer != lines {
            self.wrong = Some("a repeated run gave another answer".into());
        }
        self.answer = lines;
    }

    /// Runs the style's code, and keeps what it used.
    pub fn watch<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (result, usage) = machine::usage(work);
        self.cpu.seconds.push(usage.cpu_s);
        self.peak_kib = self.peak_kib.max(usage.peak_kib);
        result
    }

    pub fn expect(&mut self, says: &'static str, verdict: Verdict) {
        self.expectation = Some(Expectation { says, verdict });
    }

    /// Shows the spans as a picture.
    pub fn draw(&mut self) {
        self.picture = json!({"kind": "timeline"});
        self.shown.extend(timeline::draw(&self.spans));
    }

    /// Keeps a figure for the JSON.
    pub fn measure(&mut self, name: &str, value: Value) {
        self.measured.insert(name.to_string(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_answer_is_wrong() {
        let mut section = Section::default();
        section.answers(vec!["1".into()]);
        section.answers(vec!["1".into()]);
        assert!(section.wrong.is_none());
        section.answers(vec!["2".into()]);
        assert!(section.wrong.is_some());
    }
}
