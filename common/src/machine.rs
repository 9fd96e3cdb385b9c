//! What this machine has: cores, descriptors, CPU time; and the profile of this build.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use crate::error::Error;

/// What the figures of a run depend on.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Cores that this program may use.
    pub cores: usize,
    /// Cores that it was started with.
    pub all_cores: usize,
    /// Descriptors that one process may have open.
    pub descriptors: u64,
}

impl Machine {
    /// Looks at the machine; raises the soft limit of descriptors to the hard one.
    pub fn look() -> Machine {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        let cores = cores();
        Machine { cores, all_cores: cores, descriptors: if raised { hard } else { soft } }
    }

    /// How many descriptors are left for connections, besides those that the program itself needs.
    pub fn free_descriptors(&self) -> usize {
        self.descriptors.saturating_sub(32) as usize
    }

    /// Limits this program, and everything it starts from now on, to the first `n` of its cores.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
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

/// How often the kernel took a core away from this process, its threads or its reaped children
/// while they could run (`man 2 getrusage`, `ru_nivcsw`).
pub fn preemptions() -> u64 {
    let both = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    let usages = both.into_iter().filter_map(|who| getrusage(who).ok());
    usages.map(|u| u.involuntary_context_switches() as u64).sum()
}

/// What a piece of work used, as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Seconds of CPU, of all threads and of all children that have ended in the meantime.
    pub cpu_s: f64,
    /// The most memory that was resident at once, in KiB. `None` if children did some of the work:
    /// their memory is not counted here.
    pub peak_kib: Option<u64>,
}

/// Does `work` and returns what it used.
pub fn usage<R>(work: impl FnOnce() -> R) -> (R, Usage) {
    // From here on the kernel records a new peak (`man 5 proc_pid_clear_refs`).
    let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
    let (cpu, children) = (cpu_seconds(), cpu_of(UsageWho::RUSAGE_CHILDREN));
    let result = work();
    let own_alone = cpu_of(UsageWho::RUSAGE_CHILDREN) <= children;
    let peak = (reset && own_alone).then(|| field("/proc/self/status", "VmHWM:") / 1024);
    (result, Usage { cpu_s: cpu_seconds() - cpu, peak_kib: peak })
}

/// A line of one of the kernel's files, such as `Rss:    1234 kB`, in bytes.
pub fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let number = lines.next().and_then(|rest| rest.split_whitespace().next());
    number.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The number in one of the kernel's files that contains nothing else.
pub fn setting(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.split_whitespace().next()?.parse().ok()
}

/// Which kernel runs here, and on which processor.
pub fn kernel_and_cpu() -> (String, String) {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpu = name.map_or(std::env::consts::ARCH, |(_, name)| name);
    (kernel.trim().to_string(), cpu.trim().to_string())
}

/// Seconds of CPU that this process, its threads and its reaped children have used.
pub fn cpu_seconds() -> f64 {
    cpu_of(UsageWho::RUSAGE_SELF) + cpu_of(UsageWho::RUSAGE_CHILDREN)
}

fn cpu_of(who: UsageWho) -> f64 {
    let times = getrusage(who).map(|usage| [usage.user_time(), usage.system_time()]);
    let seconds = |t: TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    times.map_or(0.0, |times| times.into_iter().map(seconds).sum())
}

/// The children of this process, as the kernel counts them, zombies included.
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
