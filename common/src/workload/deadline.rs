//! deadline: every page is there, or timed out, at one moment. Slide 27.

use std::time::Instant;

use crate::workload::io_bound::{Job, Outcome};

impl Job {
    /// The same page, cancelled at `deadline` at the latest.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Job {
        let left = deadline.saturating_duration_since(Instant::now());
        self.timeout = self.timeout.min(left);
        self
    }

    /// The outcome of a page that is cancelled at a deadline.
    pub fn timed_out(self) -> Outcome {
        let result = Err("timed out".into());
        Outcome { task: self.task, page: self.page, result, spans: Vec::new() }
    }
}
