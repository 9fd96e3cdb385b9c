//! What this machine gives: cores, descriptors, CPU time; and the build it runs.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::unistd::Pid;

use crate::error::Error;

/// What the figures of a run depend on.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Cores that this program may use.
    pub cores: usize,
    /// Descriptors that one process may have open.
    pub descriptors: u64,
}

impl Machine {
    /// Looks at the machine; raises the soft limit of descriptors to the hard one.
    pub fn look() -> Machine {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        Machine { cores: cores(), descriptors: if raised { hard } else { soft } }
    }

    /// How many descriptors are left for connections, beside those that everything else needs.
    pub fn free_descriptors(&self) -> usize {
        self.descriptors.saturating_sub(64) as usize
    }

    /// Keeps this program, and what it starts from now on, to the first `n` of its cores.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn use_cores(&mut self, n: usize) -> Result<(), Error> {
        let failed = |error| Error::Failed(format!("cannot choose cores: {error}"));
        let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(failed)?;
        let mut chosen = CpuSet::new();
        let free = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        for core in free.take(n) {
            chosen.set(core).map_err(failed)?;
        }
        sched_setaffinity(Pid::from_raw(0), &chosen).map_err(failed)?;
        self.cores = n;
        Ok(())
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The build's profile; times of a debug build are not for quoting.
pub fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// How often the kernel took a core away from this process, its threads or its reaped children,
/// although they had not offered it (`man 2 getrusage`, `ru_nivcsw`).
pub fn preemptions() -> u64 {
    let both = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    let usages = both.into_iter().filter_map(|who| getrusage(who).ok());
    usages.map(|u| u.involuntary_context_switches() as u64).sum()
}

/// Seconds of CPU that this process, its threads and its reaped children have used.
pub fn cpu_seconds() -> f64 {
    let both = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    let usages = both.into_iter().filter_map(|who| getrusage(who).ok());
    let times = usages.flat_map(|u| [u.user_time(), u.system_time()]);
    times.map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum()
}

/// The children of this process, by the kernel's count, zombies included.
pub fn children() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_counted() {
        use std::process::{Command, Stdio};
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("there is cat");
        assert!(children().contains(&child.id()));
        drop(child.stdin.take());
        child.wait().expect("it ends with its input");
        assert!(!children().contains(&child.id()));
    }
}
