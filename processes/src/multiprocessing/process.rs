//! A process that is spawned and joined like a thread.
//!
//! `process::spawn(f)` forks: the child runs `f` on its own copy of all memory, leaves what `f`
//! returned in a file in memory and ends. `join` waits for that. It is what
//! `multiprocessing.Process` is in Python (start method `fork`, `daemon=True`).

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{AnswerFile, ProcessError, from_answer};
use super::child::Child;

/// A child process that runs one closure, as a `JoinHandle` stands for a thread that does.
///
/// Dropped without a join, the child is killed and reaped: it is never left behind, neither running
/// nor as a zombie. It belongs to the process that spawned it: in one that was forked later its
/// copy cannot be joined, and dropped it does nothing.
///
/// As a descriptor (`AsFd`) it is readable once the child has ended, so that `join` will not wait.
/// To wait for the first of many, poll them all.
#[derive(Debug)]
#[must_use = "a process that is dropped is killed: join it"]
pub struct Process<T> {
    child: Child,
    answer: AnswerFile,
    returns: PhantomData<fn() -> T>,
}

/// Runs `f` in a new process, as `thread::spawn` does in a new thread.
///
/// `f` may borrow: the child has a copy of everything. Only the result travels.
///
/// # Panics
/// If no process can be started, as `thread::spawn` does; [`try_spawn`] returns the error instead.
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
/// process that is not yet joined takes two descriptors. Or this process has other threads: see
/// [`Child::fork`].
pub fn try_spawn<F, T>(f: F) -> io::Result<Process<T>>
where
    F: FnOnce() -> T,
    T: Serialize + DeserializeOwned,
{
    let answer = AnswerFile::new()?;
    // Moved into the closure, the parent's copy of `f` is dropped by the time this returns.
    let child = Child::fork(|| answer.report(f))?;
    Ok(Process { child, answer, returns: PhantomData })
}

impl<T: Serialize + DeserializeOwned> Process<T> {
    /// Waits for the process to end and returns what its closure returned.
    ///
    /// # Errors
    /// The closure panicked; the process exited or was killed before it had a result; the result's
    /// type cannot travel; this process has not spawned it.
    pub fn join(mut self) -> Result<T, ProcessError> {
        let end = self.child.reap()?;
        match self.answer.read()? {
            Some(answer) => from_answer(&answer),
            None => Err(ProcessError::Ended(end)),
        }
    }
}

impl<T> Process<T> {
    /// The process's number, as the kernel and `ps` know it.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Sends a signal. A `SIGKILL` ends the process whatever it does; `SIGSTOP` and `SIGCONT` pause
    /// and resume it without its knowing. To one that has ended it makes no difference.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        self.child.kill(signal)
    }

    /// Waits until the process has stopped (true) or ended (false), as `waitpid(WUNTRACED)` does,
    /// and leaves its end to [`Process::join`].
    pub fn wait_stopped(&self) -> io::Result<bool> {
        self.child.wait_stopped()
    }

    /// Whether the process has ended, so that [`Process::join`] will not wait. Never blocks.
    pub fn is_finished(&self) -> bool {
        self.child.is_finished()
    }
}

impl<T> AsFd for Process<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // A file, unlike a pipe, is always readable: right for one that ended unseen.
        self.child.pidfd().unwrap_or(self.answer.as_fd())
    }
}
