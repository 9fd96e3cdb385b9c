//! A forked process: start it, signal it, reap it. (`multiprocessing`'s `popen_fork`)

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use serde::{Deserialize, Serialize};

/// A process that this one has started and must reap. Dropping it kills and reaps the process.
///
/// Only the process that started it may wait for it. A later fork has a copy of this handle, which
/// does nothing when it is dropped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    parent: Pid,
    /// Identifies the process even if its number has been reused. `None` if the process had ended
    /// and the kernel had reaped it before this was opened (`SIGCHLD` is ignored).
    pidfd: Option<OwnedFd>,
    end: Option<End>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With this exit code.
    Exited(i32),
    /// By this signal. A number, because real-time signals have no names.
    Killed(i32),
    /// It ended, but how is not known: another waiter was told, or `SIGCHLD` is ignored.
    Unknown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "the process exited with code {code} and no result"),
            Self::Killed(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "the process was killed by {signal}"),
                Err(_) => write!(f, "the process was killed by real-time signal {number}"),
            },
            Self::Unknown => write!(
                f,
                "the process ended without a result, and another waiter was told how (SIGCHLD is \
                 ignored, or another part of this program waits for all children)"
            ),
        }
    }
}

impl Child {
    /// Forks a child that runs `body` and exits with the code that `body` returns (101 if it
    /// panics). The kernel kills it when this process ends.
    ///
    /// # Errors
    /// No process or no descriptor left, with the limit in the message; or this process has other
    /// threads. `fork` copies the memory, but only the calling thread. A lock that another thread
    /// holds at that moment stays locked in the child forever, including the locks of the allocator
    /// and of stderr.
    #[expect(unsafe_code, reason = "the child starts with a copy of everything")]
    pub fn fork(body: impl FnOnce() -> i32) -> io::Result<Self> {
        // It opens a directory, so there is also a descriptor for the pidfd.
        check_single_threaded()?;
        // SAFETY: this thread is the only one. So no other thread can have left a lock locked or
        // data half changed in the copy. The child may do anything.
        unsafe { Self::fork_beside_threads(body) }
    }

    /// The same, even if this process has other threads.
    ///
    /// # Errors
    /// No process or no descriptor left.
    ///
    /// # Safety
    /// If there are other threads, `body` may only do what a signal handler may
    /// (`man 7 signal-safety`): not even allocate.
    #[expect(unsafe_code, reason = "the child starts with a copy of everything")]
    pub unsafe fn fork_beside_threads(body: impl FnOnce() -> i32) -> io::Result<Self> {
        // Otherwise both processes would print what is still in the buffer.
        let _ = io::stdout().flush();
        let parent = Pid::this();
        // SAFETY: the child only does what the caller has promised to be safe.
        match unsafe { fork() }.map_err(|errno| not_started(errno.into()))? {
            ForkResult::Parent { child } => Self::adopt(child),
            ForkResult::Child => {
                let code = panic::catch_unwind(AssertUnwindSafe(|| {
                    die_with(parent);
                    settle_in();
                    body()
                }));
                exit_now(code.unwrap_or_else(|panic| {
                    mem::forget(panic); // its destructor could unwind into the parent's frames
                    101
                }))
            }
        }
    }

    /// Takes ownership of a child that was just started, in any way.
    ///
    /// # Errors
    /// No descriptor left; the child is then killed and reaped.
    pub fn adopt(pid: Pid) -> io::Result<Self> {
        let mut child = Self { pid, parent: Pid::this(), pidfd: None, end: None };
        match pidfd_open(pid) {
            Ok(pidfd) => child.pidfd = Some(pidfd),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => {
                // It cannot have been reaped yet, so the number is still its own.
                let _ = signal::kill(pid, Signal::SIGKILL);
                let _ = retry(|| nix::sys::wait::waitpid(pid, None));
                child.end = Some(End::Unknown);
                return Err(not_started(error));
            }
        }
        Ok(child)
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A descriptor that is readable when the child has ended (`man 2 pidfd_open`); `None` if it
    /// ended before this could be opened.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Sends a signal. It has no effect on a process that has ended.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        match self.pidfd() {
            Some(pidfd) => pidfd_send_signal(pidfd, signal),
            None => Ok(()),
        }
    }

    /// Whether it has ended. Never blocks.
    pub fn is_finished(&self) -> bool {
        self.end.is_some() || self.pidfd().is_none_or(is_readable)
    }

    /// Waits until it has stopped (true) or ended (false). Does not reap it.
    pub fn wait_stopped(&self) -> io::Result<bool> {
        let (code, _) = self.wait(libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT)?;
        Ok(code == libc::CLD_STOPPED)
    }

    /// Waits for the end and reaps the process.
    ///
    /// # Errors
    /// This process did not start it.
    pub fn reap(&mut self) -> io::Result<End> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let end = match self.wait(libc::WEXITED)? {
            (libc::CLD_EXITED, code) => End::Exited(code),
            (libc::CLD_KILLED | libc::CLD_DUMPED, signal) => End::Killed(signal),
            _ => End::Unknown,
        };
        self.end = Some(end);
        Ok(end)
    }

    /// `man 2 waitid`: what happened, and the exit code or the signal. Zeros if the child has ended
    /// and another waiter was told.
    fn wait(&self, flags: i32) -> io::Result<(i32, i32)> {
        if self.parent != Pid::this() {
            return Err(not_ours(self.parent));
        }
        match self.pidfd().map(|pidfd| retry(|| waitid(pidfd, flags))) {
            Some(Err(Errno::ECHILD)) | None => Ok((0, 0)),
            Some(result) => Ok(result?),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A process that was forked later has a copy of this handle, but must not use it.
        if self.end.is_none() && self.parent == Pid::this() {
            let _ = self.kill(Signal::SIGKILL);
            let _ = self.reap();
        }
    }
}

/// The error of a handle that was inherited by a fork.
pub fn not_ours(owner: Pid) -> io::Error {
    io::Error::other(format!("it belongs to process {owner}, which started it"))
}

/// Adds to an error the limit that was reached.
pub fn not_started(error: io::Error) -> io::Error {
    let Some(limit) = limit(&error) else { return error };
    io::Error::new(error.kind(), format!("no further process can be started: {error} ({limit})"))
}

/// Which limit an error is about.
pub fn limit(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EAGAIN => Some("the limit of processes: ulimit -u, or pids.max of the container"),
        libc::EMFILE => Some("the limit of open files: ulimit -n"),
        libc::ENFILE => Some("the limit of open files of the whole machine: fs.file-max"),
        libc::ENOMEM => Some("the limit of memory: ulimit -v, or memory.max of the container"),
        _ => None,
    }
}

#[expect(unsafe_code, reason = "nix has no pidfd_open")]
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the system call takes two numbers; its result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal. It has no effect on a process that may already be reaped.
#[expect(unsafe_code, reason = "nix has no pidfd_send_signal")]
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let (fd, signal) = (pidfd.as_raw_fd(), signal as i32);
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: three numbers, and no extra data for the signal.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, nothing, 0) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

/// nix's `waitid` does not support real-time signals.
#[expect(unsafe_code, reason = "nix's waitid fails for real-time signals, after it has reaped")]
fn waitid(pidfd: BorrowedFd<'_>, flags: i32) -> nix::Result<(i32, i32)> {
    let fd = pidfd.as_raw_fd().unsigned_abs();
    // SAFETY: zeros are a valid `siginfo_t`, which the call fills in. It is about a child, so the
    // status is the valid field.
    unsafe {
        let mut info: libc::siginfo_t = mem::zeroed();
        Errno::result(libc::waitid(libc::P_PIDFD, fd, &raw mut info, flags))?;
        Ok((info.si_code, info.si_status()))
    }
}

/// Whether a descriptor is readable. Never blocks.
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut sources = [PollFd::new(fd, PollFlags::POLLIN)];
    retry(|| poll(&mut sources, PollTimeout::ZERO)).is_ok_and(|ready| ready > 0)
}

/// Waits until a descriptor is readable.
pub fn wait_readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut sources = [PollFd::new(fd, PollFlags::POLLIN)];
    retry(|| poll(&mut sources, PollTimeout::NONE))?;
    Ok(())
}

/// A forked process must not run the exit handlers of its parent, nor unwind into the frames of its
/// parent.
#[expect(unsafe_code, reason = "std's exit runs the parent's exit handlers")]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process at once and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Resets what a child has inherited and does not want.
pub fn settle_in() {
    // Ctrl-C goes to the parent and to the children. The parent decides what it means for the
    // children.
    set_handler(Signal::SIGINT, SigHandler::SigIgn);
    // The handler of the parent would report the signal to the parent.
    set_handler(Signal::SIGTERM, SigHandler::SigDfl);
    // The child must learn how its own children end.
    set_handler(Signal::SIGCHLD, SigHandler::SigDfl);
    let _ = signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

#[expect(unsafe_code, reason = "a signal handler is replaced")]
pub fn set_handler(signal: Signal, handler: SigHandler) {
    // SAFETY: neither ignoring a signal nor its default action runs any code of ours.
    let _ = unsafe { signal::signal(signal, handler) };
}

/// Makes the kernel kill this process when `parent`, its parent, ends for any reason. The kernel
/// watches the thread that forked (`man 2const PR_SET_PDEATHSIG`): here it is the only thread.
fn die_with(parent: Pid) {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    if getppid() != parent {
        exit_now(1); // it has already ended, and no signal will come
    }
}

fn check_single_threaded() -> io::Result<()> {
    // The kernel lists a thread for a moment after it was joined.
    let deadline = Instant::now() + Duration::from_millis(100);
    loop {
        let threads = fs::read_dir("/proc/self/task").map_err(not_started)?.count();
        if threads == 1 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(io::Error::other(format!(
                "fork in a process of {threads} threads: the child could hang on a lock"
            )));
        }
        thread::yield_now();
    }
}

/// Repeats a system call that was interrupted by a signal.
pub fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
