//! A forked process: started, signalled, reaped. (`multiprocessing`'s `popen_fork`)

use std::fs;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};

/// A process that this one has forked, and must reap: killed, then reaped, when it is dropped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    parent: Pid,
    reaped: bool,
}

impl Child {
    /// Forks a child that runs `body`, exits with the code that `body` returns (101 if it panics),
    /// and is killed when this process ends.
    ///
    /// # Errors
    /// No process or no descriptor left.
    ///
    /// # Panics
    /// If this process has other threads: see [`assert_single_threaded`].
    #[track_caller]
    #[expect(unsafe_code, reason = "the child starts with a copy of everything")]
    pub fn fork(body: impl FnOnce() -> i32) -> io::Result<Self> {
        assert_single_threaded()?;
        // SAFETY: this thread is the only one, so no other can have left a lock taken or a
        // structure half changed in the copy. The child may do what it likes.
        unsafe { Self::fork_beside_threads(body) }
    }

    /// The same, whoever else runs in this process.
    ///
    /// # Errors
    /// No process left.
    ///
    /// # Safety
    /// If there are other threads, `body` may only do what a signal handler may
    /// (`man 7 signal-safety`): not even allocate.
    #[expect(unsafe_code, reason = "the child starts with a copy of everything")]
    pub unsafe fn fork_beside_threads(body: impl FnOnce() -> i32) -> io::Result<Self> {
        // What is still in the buffer would be printed by both.
        let _ = io::stdout().flush();
        let parent = Pid::this();
        // SAFETY: the child does nothing that the caller has not vouched for.
        match unsafe { fork() }? {
            ForkResult::Parent { child: pid } => Ok(Self { pid, parent, reaped: false }),
            ForkResult::Child => {
                let code = panic::catch_unwind(AssertUnwindSafe(|| {
                    settle_in(parent);
                    body()
                }));
                exit_now(code.unwrap_or(101))
            }
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        // The number cannot belong to anybody else: until it is reaped, an ended child keeps it.
        Ok(signal::kill(self.pid, signal)?)
    }

    /// A descriptor that is readable when the child has ended (`man 2 pidfd_open`).
    #[expect(unsafe_code, reason = "nix has no pidfd_open")]
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the system call takes two numbers; its result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid.as_raw(), 0) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    /// Waits for the end, and frees the number.
    pub fn reap(&mut self) -> io::Result<WaitStatus> {
        self.reaped = true;
        Ok(retry(|| waitpid(self.pid, None))?)
    }
}

/// Takes over a child that std has started.
impl From<std::process::Child> for Child {
    fn from(child: std::process::Child) -> Self {
        Self { pid: Pid::from_raw(child.id() as i32), parent: Pid::this(), reaped: false }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A process that was forked later has a copy of this handle, but not the right to use it.
        if !self.reaped && self.parent == Pid::this() {
            let _ = self.kill(Signal::SIGKILL);
            let _ = self.reap();
        }
    }
}

/// A forked process must not run what its parent has registered for the end, nor unwind into its
/// parent's frames.
#[expect(unsafe_code, reason = "std's exit runs the parent's exit handlers")]
fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process at once and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Frees a child from what it has inherited and does not want.
pub fn settle_in(parent: Pid) {
    die_with(parent);
    // Ctrl-C goes to parent and children alike. The parent decides what it means for the children.
    set_handler(Signal::SIGINT, SigHandler::SigIgn);
    // The parent's handler would tell the parent that the signal was meant for it.
    set_handler(Signal::SIGTERM, SigHandler::SigDfl);
    let _ = signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

#[expect(unsafe_code, reason = "a signal handler is replaced")]
fn set_handler(signal: Signal, handler: SigHandler) {
    // SAFETY: neither to ignore a signal nor its default action runs any code of ours.
    let _ = unsafe { signal::signal(signal, handler) };
}

/// Makes sure that this process is killed when `parent`, its parent, ends, for whatever reason.
pub fn die_with(parent: Pid) {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    if getppid() != parent {
        exit_now(1); // it has ended already, and no signal will tell
    }
}

/// `fork` copies the memory but only the calling thread: a lock that any other thread holds at that
/// moment stays locked in the child for ever, the one of the allocator or of stderr included.
///
/// # Errors
/// `/proc` cannot be read, perhaps for want of a descriptor.
///
/// # Panics
/// If this process has more than one thread.
#[track_caller]
pub fn assert_single_threaded() -> io::Result<()> {
    // The kernel lists a thread for a moment longer than the join that waited for it.
    let patience = Instant::now() + Duration::from_millis(100);
    loop {
        let threads = fs::read_dir("/proc/self/task")?.count();
        if threads == 1 {
            return Ok(());
        }
        assert!(
            Instant::now() < patience,
            "fork in a process of {threads} threads: the child could hang on a lock"
        );
        thread::yield_now();
    }
}

/// Repeats a system call that a signal has interrupted.
pub fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
