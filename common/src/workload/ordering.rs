//! ordering: in which order tasks do their steps, run after run. Slides 6, 16, 22.

use crate::span::thread_cpu;

pub(crate) const STEPS: usize = 8;

/// CPU of a step, in microseconds. Without it no task would ever be preempted.
const WORK: u64 = 1000;

/// The steps of one task, to be done one after the other.
#[derive(Clone, Debug)]
pub struct Steps {
    task: usize,
    done: usize,
}

impl Steps {
    pub fn new(task: usize) -> Steps {
        Steps { task, done: 0 }
    }

    /// Does the next step, about 1 ms of computing, and names it: the task's letter and the
    /// step's number, such as `B3`. `None` after the last.
    pub fn step(&mut self) -> Option<String> {
        if self.done == STEPS {
            return None;
        }
        let end = thread_cpu() + WORK;
        while thread_cpu() < end {}
        self.done += 1;
        Some(format!("{}{}", letter(self.task), self.done))
    }
}

pub(crate) fn letter(task: usize) -> char {
    (b'A' + task as u8) as char
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_named_and_end() {
        let mut steps = Steps::new(1);
        let mut log = String::new();
        while let Some(step) = steps.step() {
            log.push_str(&step);
        }
        assert_eq!(log, "B1B2B3B4B5B6B7B8");
    }
}
