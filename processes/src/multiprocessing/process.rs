//! A process that is spawned and joined like a thread.
//!
//! `process::spawn(f)` forks: the child runs `f` on its own copy of all memory, sends what `f`
//! returned through a pipe and is gone. `join` waits for that result. It is what
//! `multiprocessing.Process` is in Python (start method `fork`, `daemon=True`).

use std::any::Any;
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::child::{Child, retry};
use super::connection::{Frames, to_frame};

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
/// error instead. If this process has other threads: see [`Child::fork`].
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
/// If this process has other threads: see [`Child::fork`].
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
        self.child.pid()
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
