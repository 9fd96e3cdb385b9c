//! resources: what a task costs: memory, starting it, switching to it. Slide 21.

use std::fmt::Display;
use std::fs;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::machine::children;

/// Looks at the clock and at the memory while a style starts its tasks.
#[derive(Default)]
pub struct Meter {
    begun: Option<(Instant, Memory)>,
    pub(crate) reading: Reading,
}

/// What a meter read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Seconds until all tasks waited.
    pub(crate) start_s: f64,
    /// Bytes more than before, in this process and in its children.
    pub(crate) bytes: u64,
    pub(crate) finished: usize,
    pub(crate) refused: Option<String>,
}

impl Meter {
    /// From here on, tasks are started.
    pub fn begin(&mut self) {
        let memory = Memory::now();
        self.begun = Some((Instant::now(), memory));
    }

    /// The machine had no further task to give. Those that there are go on.
    pub fn refused(&mut self, error: &dyn Display) {
        self.reading.refused.get_or_insert(error.to_string());
    }

    /// All tasks that were started wait at the gate.
    pub fn waiting(&mut self) {
        let now = Instant::now();
        let (start, before) = self.begun.expect("it began to measure");
        self.reading.start_s = (now - start).as_secs_f64();
        self.reading.bytes = Memory::now().more_than(before);
    }

    /// So many tasks have come through the gate, and have ended.
    pub fn finished(&mut self, tasks: usize) {
        self.reading.finished = tasks;
    }
}

/// Memory in bytes, by the kernel's figures.
#[derive(Clone, Copy)]
struct Memory {
    /// Pages of this process that are in memory.
    resident: u64,
    /// Pages that belong to one of its children alone.
    children: u64,
}

impl Memory {
    fn now() -> Memory {
        let private = |pid: u32| {
            let rollup = format!("/proc/{pid}/smaps_rollup");
            field(&rollup, "Private_Clean:") + field(&rollup, "Private_Dirty:")
        };
        Memory {
            resident: field("/proc/self/smaps_rollup", "Rss:"),
            children: children().into_iter().map(private).sum(),
        }
    }

    fn more_than(self, before: Memory) -> u64 {
        self.resident.saturating_sub(before.resident)
            + self.children.saturating_sub(before.children)
    }
}

/// A line of a file of the kernel's, such as `Rss:    1234 kB`, in bytes.
pub(crate) fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let number = lines.next().and_then(|rest| rest.split_whitespace().next());
    number.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_reads_what_was_touched() {
        // So much that what other tests of this process let go meanwhile does not count.
        const MUCH: usize = 256 * 1024 * 1024;
        let mut meter = Meter::default();
        meter.begin();
        let kept = vec![1_u8; MUCH];
        meter.waiting();
        meter.finished(kept.iter().map(|&byte| usize::from(byte)).sum::<usize>() / MUCH);
        meter.refused(&"no");
        let Reading { bytes, finished, refused, .. } = meter.reading;
        assert!(bytes >= MUCH as u64 / 2, "{bytes}");
        assert_eq!((finished, refused.as_deref()), (1, Some("no")));
    }
}
