//! What one workload or aside has to say.

use serde_json::{Map, Value, json};

use crate::report::timeline;
use crate::span::Span;

/// What one workload or aside has to say.
#[derive(Debug, Default)]
pub struct Section {
    /// The answer, a line each: stdout, the same in all styles.
    pub answer: Vec<String>,
    /// What was measured, as a room sees it: stderr.
    pub shown: Vec<String>,
    /// What was measured, for the JSON.
    pub measured: Map<String, Value>,
    pub wall_s: Option<f64>,
    pub baseline_s: Option<f64>,
    pub limit_s: Option<f64>,
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

    /// Shows the spans as a picture.
    pub fn draw(&mut self) {
        self.shown.extend(timeline::draw(&self.spans));
    }

    /// Keeps a figure for the JSON.
    pub fn measure(&mut self, name: &str, value: Value) {
        self.measured.insert(name.to_string(), value);
    }

    pub(crate) fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("answer".into(), json!(self.answer));
        all.insert("ok".into(), json!(self.wrong.is_none()));
        let times =
            [("wall_s", self.wall_s), ("baseline_s", self.baseline_s), ("limit_s", self.limit_s)];
        for (name, seconds) in times {
            if let Some(seconds) = seconds {
                all.insert(name.into(), json!(seconds));
            }
        }
        all.insert("measured".into(), json!(self.measured));
        all.insert("spans".into(), json!(self.spans));
        Value::Object(all)
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
