//! A process that is spawned and joined like a thread.
//!
//! `process::spawn(f)` forks: the child runs `f` on its own copy of all memory, writes the result
//! of `f` to a file in memory, and ends. `join` waits for that. It is Python's
//! `multiprocessing.Process` (start method `fork`, `daemon=True`).

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{AnswerFile, ProcessError, from_answer};
use super::child::Child;

/// A child process that runs one closure. It is like a `JoinHandle` of a thread.
///
/// Dropped without a join, the child is killed and reaped, so it is never left running or as a
/// zombie. It belongs to the process that spawned it. In a process that was forked later, the copy
/// cannot be joined, and does nothing when it is dropped.
///
/// As a descriptor (`AsFd`) it is readable once the child has ended: then `join` does not wait. To
/// wait for the first of many, poll them all.
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
/// If no process can be started, as with `thread::spawn`; [`try_spawn`] returns the error instead.
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

/// Like [`spawn`], for a caller that may reach a limit. It is like `thread::Builder::spawn`.
///
/// # Errors
/// No process (`EAGAIN`, `ENOMEM`) or no descriptor left, with the limit in the message. Each
/// process that is not joined yet takes two descriptors. Or this process has other threads: see
/// [`Child::fork`].
pub fn try_spawn<F, T>(f: F) -> io::Result<Process<T>>
where
    F: FnOnce() -> T,
    T: Serialize + DeserializeOwned,
{
    let answer = AnswerFile::new()?;
    // `f` moves into the closure, so the parent's copy of it is dropped when this returns.
    let child = Child::fork(|| answer.report(f))?;
    Ok(Process { child, answer, returns: PhantomData })
}

impl<T: Serialize + DeserializeOwned> Process<T> {
    /// Waits for the process to end and returns what its closure returned.
    ///
    /// # Errors
    /// The closure panicked; the process exited or was killed before it had a result; the type of
    /// the result cannot be sent; this process did not spawn it.
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

    /// Sends a signal. `SIGKILL` ends the process at any point. `SIGSTOP` and `SIGCONT` pause and
    /// resume it, and it does not notice. A signal has no effect on a process that has ended.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        self.child.kill(signal)
    }

    /// Waits until the process has stopped (true) or ended (false), as `waitpid(WUNTRACED)` does.
    /// It does not reap the process: [`Process::join`] does.
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
        // A file, unlike a pipe, is always readable. That is right for a process that ended before
        // it had a pidfd.
        self.child.pidfd().unwrap_or(self.answer.as_fd())
    }
}
