//! resources: what a task costs: memory, starting it, switching to it. Slide 21.

use std::fmt::Display;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::machine::{children, field};

/// Reads the clock and the memory while a style starts its tasks.
#[derive(Default)]
pub struct Meter {
    begun: Option<(Instant, Memory)>,
    pub(crate) reading: Reading,
}

/// The readings of a meter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Seconds until all tasks waited.
    pub(crate) start_s: f64,
    /// Bytes more than before, in this process and its children.
    pub(crate) bytes: u64,
    /// Bytes that the kernel keeps for them: stacks of threads, page tables.
    pub(crate) kernel: u64,
    /// Threads more than before while the tasks waited, in this process and in its children.
    pub(crate) threads: u64,
    pub(crate) finished: usize,
    pub(crate) refused: Option<String>,
}

impl Meter {
    /// From here on, tasks are started.
    pub fn begin(&mut self) {
        let memory = Memory::now();
        self.begun = Some((Instant::now(), memory));
    }

    /// The machine could start no further task. Those that were started go on.
    pub fn refused(&mut self, error: &dyn Display) {
        self.reading.refused.get_or_insert(error.to_string());
    }

    /// All tasks that were started are waiting.
    pub fn waiting(&mut self) {
        let now = Instant::now();
        let (start, before) = self.begun.expect("it began to measure");
        self.reading.start_s = (now - start).as_secs_f64();
        let memory = Memory::now();
        self.reading.bytes = memory.more_than(before);
        self.reading.kernel = memory.kernel.saturating_sub(before.kernel);
        self.reading.threads = memory.threads.saturating_sub(before.threads);
    }

    /// So many tasks have waited, and have ended.
    pub fn finished(&mut self, tasks: usize) {
        self.reading.finished = tasks;
    }
}

/// Memory in bytes, as the kernel counts it.
#[derive(Clone, Copy)]
struct Memory {
    /// Pages of this process that are in memory.
    resident: u64,
    /// Pages that belong only to its children.
    children: u64,
    /// What the kernel keeps for this process and its children.
    kernel: u64,
    /// Of this process and its children.
    threads: u64,
}

impl Memory {
    fn now() -> Memory {
        let private = |pid: u32| {
            let rollup = format!("/proc/{pid}/smaps_rollup");
            field(&rollup, "Private_Clean:") + field(&rollup, "Private_Dirty:")
        };
        let (kernel, threads) = kernel();
        Memory {
            resident: field("/proc/self/smaps_rollup", "Rss:"),
            children: children().into_iter().map(private).sum(),
            kernel,
            threads,
        }
    }

    fn more_than(self, before: Memory) -> u64 {
        self.resident.saturating_sub(before.resident)
            + self.children.saturating_sub(before.children)
    }
}

/// Page tables, and a stack in the kernel for each thread, of this process and its children; and
/// how many threads that are.
fn kernel() -> (u64, u64) {
    let mut processes = vec!["self".to_string()];
    processes.extend(children().iter().map(u32::to_string));
    let (mut tables, mut threads) = (0, 0);
    for pid in processes {
        let table = field(&format!("/proc/{pid}/status"), "VmPTE:");
        // A process that has ended, but was not joined yet, has no memory.
        if table > 0 {
            tables += table;
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
            threads += tasks.map_or(0, Iterator::count) as u64;
        }
    }
    (tables + threads * kernel_stack(), threads)
}

/// Bytes of a thread's stack in the kernel: those of all threads, divided by their number, because
/// the kernel reports no more (`man 5 proc_meminfo`, `man 5 proc_loadavg`).
fn kernel_stack() -> u64 {
    let all = field("/proc/meminfo", "KernelStack:");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = load.split(['/', ' ']).nth(4).and_then(|n| n.parse::<u64>().ok());
    let page = 4096;
    (all / threads.unwrap_or(1).max(1)).next_multiple_of(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_reads_what_was_touched() {
        // So much that the memory that other tests of this process free does not matter.
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
