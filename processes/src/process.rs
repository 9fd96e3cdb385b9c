//! A process that is spawned and joined like a thread.
//!
//! `process::spawn(f)` forks: the child runs `f` on its own copy of all memory, sends what `f`
//! returned through a pipe and is gone. `join` waits for that result. It is what
//! `multiprocessing.Process` is in Python (start method `fork`, `daemon=True`).

use std::any::Any;
use std::fmt;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A child process that runs one closure, as a `JoinHandle` stands for a thread that does.
///
/// Dropped without a join, the child is killed and reaped: it is never left behind, neither running
/// nor as a zombie.
///
/// As a descriptor (`AsFd`) it is readable once there is something to join: a result, or an end.
/// Whoever waits for the first of many polls them all.
#[derive(Debug)]
#[must_use = "a process that is dropped is killed: join it"]
pub struct Process<T> {
    child: Child,
    result: PipeReader,
    returns: PhantomData<fn() -> T>,
}

/// Runs `f` in a new process, as `thread::spawn` does in a new thread.
///
/// `f` may borrow: the child has a copy of everything. Only the result travels, as JSON.
///
/// # Panics
/// If the machine has no process left to give, as `thread::spawn` does; [`try_spawn`] returns the
/// error instead. If this process has other threads: see [`assert_single_threaded`].
#[track_caller]
pub fn spawn<F, T>(f: F) -> Process<T>
where
    F: FnOnce() -> T,
    T: Serialize + DeserializeOwned,
{
    match try_spawn(f) {
        Ok(process) => process,
        Err(error) => panic!("{error}"),
    }
}

/// Like [`spawn`], for a caller who expects to meet a limit, as `thread::Builder::spawn` is.
///
/// # Errors
/// No process (`EAGAIN`, `ENOMEM`) or no descriptor left, as a sentence that names the limit. Each
/// process that is not yet joined takes one descriptor.
///
/// # Panics
/// If this process has other threads: see [`assert_single_threaded`].
#[track_caller]
pub fn try_spawn<F, T>(f: F) -> io::Result<Process<T>>
where
    F: FnOnce() -> T,
    T: Serialize + DeserializeOwned,
{
    let (result, answers) = io::pipe().map_err(not_started)?;
    // Moved into the closure, the parent's copies of `f` and of the writing end are closed by the
    // time this returns. No process forked later inherits that end.
    let child = Child::fork(move || report(answers, f)).map_err(not_started)?;
    Ok(Process { child, result, returns: PhantomData })
}

fn not_started(error: io::Error) -> io::Error {
    let limit = match error.raw_os_error() {
        Some(libc::EAGAIN) => " (the limit of processes: ulimit -u, or pids.max of the container)",
        Some(libc::EMFILE) => " (the limit of open files: ulimit -n)",
        _ => "",
    };
    io::Error::new(error.kind(), format!("no further process can be started: {error}{limit}"))
}

impl<T: Serialize + DeserializeOwned> Process<T> {
    /// Waits for the process to end and returns what its closure returned.
    ///
    /// # Errors
    /// The closure panicked, the process exited or was killed before it had a result, or the result
    /// does not survive the way through JSON.
    pub fn join(mut self) -> Result<T, ProcessError> {
        let answer = self.receive()?;
        let status = self.child.reap();
        match answer {
            Some(answer) => from_answer(&answer),
            None => Err(ProcessError::from(status?)),
        }
    }
}

impl<T> Process<T> {
    /// The process's number, as the kernel and `ps` know it.
    pub fn pid(&self) -> Pid {
        self.child.pid
    }

    /// Sends a signal. A `SIGKILL` ends the process whatever it does; `SIGSTOP` and `SIGCONT` pause
    /// and resume it without its knowing.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        self.child.kill(signal)
    }

    /// Waits until the process has stopped (true) or ended (false), as `waitpid(WUNTRACED)` does,
    /// and leaves its end to [`Process::join`].
    pub fn wait_stopped(&self) -> io::Result<bool> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let status = retry(|| waitid(Id::Pid(self.pid()), flags))?;
        Ok(matches!(status, WaitStatus::Stopped(..)))
    }

    /// Whether the process has ended, so that [`Process::join`] will not wait. Never blocks.
    pub fn is_finished(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        !matches!(retry(|| waitid(Id::Pid(self.pid()), flags)), Ok(WaitStatus::StillAlive))
    }

    /// Reads the child's one frame; `None` if the child ended without having sent a whole one.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        // An end of file alone would not do: the child's own children hold its end of the pipe too.
        let death = self.child.pidfd()?;
        let mut frames = Frames::default();
        let mut buf = vec![0; 64 * 1024]; // what a pipe holds
        let mut dead = false;
        loop {
            if let Some(frame) = frames.next() {
                return Ok(Some(frame));
            }
            let mut sources = [
                PollFd::new(self.result.as_fd(), PollFlags::POLLIN),
                PollFd::new(death.as_fd(), PollFlags::POLLIN),
            ];
            let patience = if dead { PollTimeout::ZERO } else { PollTimeout::NONE };
            retry(|| poll(&mut sources, patience))?;
            if sources[0].any() == Some(true) {
                let n = self.result.read(&mut buf)?;
                if n == 0 {
                    return Ok(None);
                }
                frames.received(&buf[..n]);
            } else if dead {
                return Ok(None);
            } else {
                // Look into the pipe once more: the result may have come just before the end.
                dead = true;
            }
        }
    }
}

impl<T> AsFd for Process<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.result.as_fd()
    }
}

/// Why a process has no result.
#[derive(Debug)]
pub enum ProcessError {
    /// Its closure panicked, with this message.
    Panicked(String),
    /// It called `exit`, with this code.
    Exited(i32),
    /// A signal ended it.
    Killed(Signal),
    /// The result cannot be written as JSON, for this reason.
    Unsendable(String),
    /// Its result could not be received, or is not what was expected.
    Io(io::Error),
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "the process panicked: {message}"),
            Self::Exited(code) => write!(f, "the process exited with code {code} and no result"),
            Self::Killed(signal) => write!(f, "the process was killed by {signal}"),
            Self::Unsendable(reason) => write!(f, "the result cannot be sent: {reason}"),
            Self::Io(error) => write!(f, "the result could not be received: {error}"),
        }
    }
}

impl std::error::Error for ProcessError {}

impl From<io::Error> for ProcessError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WaitStatus> for ProcessError {
    fn from(status: WaitStatus) -> Self {
        match status {
            WaitStatus::Exited(_, code) => Self::Exited(code),
            WaitStatus::Signaled(_, signal, _) => Self::Killed(signal),
            other => Self::Io(io::Error::other(format!("{other:?} is no end"))),
        }
    }
}

/// A child's work: runs the closure, sends what became of it, returns the exit code.
pub fn report<F, T>(mut answers: PipeWriter, f: F) -> i32
where
    F: FnOnce() -> T,
    T: Serialize,
{
    let (answer, code) = match to_answer(f) {
        Ok(answer) => (answer, 0),
        Err(answer) => (answer, 101),
    };
    // Flushed before the result leaves: once it has arrived, nothing is missing from the output.
    let _ = io::stdout().flush();
    // A failed write means that nobody is there any more to receive the result, or an error.
    let _ = answers.write_all(&answer);
    code
}

/// What a child says of a closure it ran.
#[derive(Serialize, Deserialize)]
enum Answer<T> {
    Returned(T),
    Panicked(String),
    Unsendable(String),
}

/// Runs a closure and puts what became of it into a frame: `Ok` with its result, `Err` with its
/// panic or with the reason why its result cannot be sent.
pub fn to_answer<F, T>(f: F) -> Result<Vec<u8>, Vec<u8>>
where
    F: FnOnce() -> T,
    T: Serialize,
{
    let failure: Answer<()> =
        match panic::catch_unwind(AssertUnwindSafe(|| to_frame(&Answer::Returned(f())))) {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Answer::Unsendable(error.to_string()),
            Err(panic) => Answer::Panicked(panic_message(&*panic)),
        };
    Err(to_frame(&failure).expect("a string fits into JSON and into a frame"))
}

/// Takes apart the frame that [`to_answer`] made in another process.
pub fn from_answer<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ProcessError> {
    match serde_json::from_slice(answer).map_err(io::Error::from)? {
        Answer::Returned(value) => Ok(value),
        Answer::Panicked(message) => Err(ProcessError::Panicked(message)),
        Answer::Unsendable(reason) => Err(ProcessError::Unsendable(reason)),
    }
}

/// The words a panic was raised with.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

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

/// A message as it travels: its length in four bytes, little-endian, and its JSON, which `strace`
/// shows in plain text.
pub fn to_frame<T: Serialize>(message: &T) -> serde_json::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4)
        .map_err(|_| serde::ser::Error::custom("it is longer than 4 GiB"))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Puts frames together again from pieces of any size.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    pub fn received(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The JSON of the oldest frame that has arrived as a whole.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let frame = rest.get(..length)?.to_vec();
        self.bytes.drain(..4 + length);
        Some(frame)
    }

    /// Whether part of a frame is there and the rest is not. If its sender has ended, it is torn.
    pub fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }
}
