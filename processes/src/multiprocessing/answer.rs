//! The answer of a process at its end: the result of its closure, or why there is none.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::child::{End, not_started};
use super::connection::{Frames, decode, encode, to_frame};

/// Why a process has no result.
#[derive(Debug)]
pub enum ProcessError {
    /// Its closure panicked, with this message.
    Panicked(String),
    /// It ended before it had a complete result: it exited, or was killed.
    Ended(End),
    /// The result, or the request, cannot be sent between processes, for this reason.
    Unsendable(String),
    /// Its result could not be received.
    Io(io::Error),
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "the process panicked: {message}"),
            Self::Ended(end) => write!(f, "{end}"),
            Self::Unsendable(reason) => write!(f, "it cannot be sent: {reason}"),
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

/// Where a process writes its answer: a file in memory (`man 2 memfd_create`).
///
/// Not a pipe: a write of more than a pipe can hold waits for a reader. So a process could not end
/// before its result is read.
#[derive(Debug)]
pub struct AnswerFile(File);

impl AnswerFile {
    /// # Errors
    /// No descriptor left.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create("answer", MFdFlags::MFD_CLOEXEC);
        Ok(Self(File::from(file.map_err(|errno| not_started(errno.into()))?)))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The work of a child: runs the closure, writes its answer, returns the exit code.
    pub fn report<F, T>(&self, f: F) -> i32
    where
        F: FnOnce() -> T,
        T: Serialize,
    {
        let (answer, code) = match to_answer(f) {
            Ok(answer) => (answer, 0),
            Err(answer) => (answer, 101),
        };
        let _ = io::stdout().flush();
        // If there is not enough memory, the answer is torn, and so there is none.
        match self.0.write_all_at(&to_frame(0, &answer), 0) {
            Ok(()) => code,
            Err(_) => 101,
        }
    }

    /// The child's answer; `None` if it is not complete. To be called after its end.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut bytes)?;
        let mut frames = Frames::default();
        frames.received(&bytes);
        Ok(frames.next().map(|(_, answer)| answer))
    }
}

impl From<OwnedFd> for AnswerFile {
    fn from(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }
}

/// What a child reports about a closure it ran.
#[derive(Serialize, Deserialize)]
enum Answer<T> {
    Returned(T),
    Panicked(String),
    Unsendable(String),
}

/// Runs a closure and encodes its result: `Ok` with the result, `Err` with its panic or with the
/// reason why the result cannot be sent.
pub fn to_answer<F, T>(f: F) -> Result<Vec<u8>, Vec<u8>>
where
    F: FnOnce() -> T,
    T: Serialize,
{
    let failure: Answer<()> =
        match panic::catch_unwind(AssertUnwindSafe(|| encode(&Answer::Returned(f())))) {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(reason)) => Answer::Unsendable(reason),
            Err(panic) => {
                let message = panic_message(&*panic);
                mem::forget(panic); // its destructor could panic once more
                Answer::Panicked(message)
            }
        };
    Err(encode(&failure).expect("a string can be encoded"))
}

/// The answer of a process that could not read its request.
pub fn unreadable(reason: String) -> Vec<u8> {
    encode(&Answer::<()>::Unsendable(reason)).expect("a string can be encoded")
}

/// Decodes what [`to_answer`] encoded in another process.
pub fn from_answer<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ProcessError> {
    match decode(answer).map_err(ProcessError::Unsendable)? {
        Answer::Returned(value) => Ok(value),
        Answer::Panicked(message) => Err(ProcessError::Panicked(message)),
        Answer::Unsendable(reason) => Err(ProcessError::Unsendable(reason)),
    }
}

/// The message of a panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
