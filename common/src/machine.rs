//! What this machine gives: cores, descriptors, CPU time; and the build it runs.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::unistd::Pid;

use crate::Error;

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

    /// Keeps this program, and what it starts from now on, to the first `n` of its cores.
    ///
    /// # Errors
    ///
    /// There are not so many.
    pub fn use_cores(&mut self, n: usize) -> Result<(), Error> {
        if n > self.cores {
            let have = self.cores;
            return Err(Error::Usage(format!("--cores {n}: this program may use {have}")));
        }
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
