//! The three ways to start a process, under the names that `multiprocessing` gives them.
//!
//! | method | the child is | what it can be given |
//! |---|---|---|
//! | `fork` | a copy of this process | anything: [`super::process::spawn`] |
//! | `forkserver` | a copy of a small process started for this, [`ForkServer`] | a [`Call`] |
//! | `spawn` | this program, started from the beginning, [`Spawned`] | a [`Call`] |
//!
//! A copy is cheap, knows everything, and has inherited every lock that another thread held at that
//! moment, for good. The other two know nothing but what they are told, and are safe to start at
//! any time. Python's default on Linux was `fork`, and is `forkserver` since 3.14.

use std::collections::HashMap;
use std::env;
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Command, Stdio, exit};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pause};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::child::{Child, retry, settle_in};
use super::connection::Frames;
use super::process::{ProcessError, from_answer, report};

/// What another program can be asked to do: a function by its name, and plain data. A closure would
/// be an address, and an address means nothing over there. (`pickle` sends functions the same way.)
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    pub function: String,
    pub argument: u64,
}

impl Call {
    pub fn new(function: &str, argument: u64) -> Self {
        Self { function: function.to_owned(), argument }
    }

    /// # Panics
    /// If there is no such function.
    pub fn run(self) -> u64 {
        let mut functions = FUNCTIONS.iter();
        let named = functions.find(|(name, _)| *name == self.function);
        let Some((_, function)) = named else { panic!("no function {}", self.function) };
        function(self.argument)
    }
}

type Function = fn(u64) -> u64;

/// The functions that can be called by name.
const FUNCTIONS: [(&str, Function); 4] = [
    ("echo", |n| n),
    ("remembered", |_| MEMORY.load(Relaxed)),
    ("log", |n| {
        drop(log());
        n
    }),
    ("wait", |n| {
        pause();
        n
    }),
];

/// What this process has come to know while it ran.
pub static MEMORY: AtomicU64 = AtomicU64::new(0);

/// What every program has: a lock that any thread takes for a moment, now and then.
static LOG: Mutex<()> = Mutex::new(());

pub fn log() -> MutexGuard<'static, ()> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first argument of a process that [`Spawned`] or [`ForkServer`] has started.
const MARK: &str = "--multiprocessing-fork";

/// Does the work of a process that was started to work, and ends with it; returns in any other.
/// First line of `main`, as in Python: `multiprocessing.freeze_support()`.
pub fn freeze_support() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some(MARK) {
        return;
    }
    let (role, parent, call) = (arguments.next(), arguments.next(), arguments.next());
    let parent = parent.and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
    let (Some(role), Some(parent), Some(home)) = (role, parent, take_home()) else {
        eprintln!("error: {MARK} is for processes that this program starts");
        exit(2);
    };
    settle_in(parent);
    let code = match (role.as_str(), call.and_then(|call| serde_json::from_str(&call).ok())) {
        ("spawn", Some(call)) => report(PipeWriter::from(home), move || Call::run(call)),
        ("forkserver", _) => serve(&home),
        _ => 2,
    };
    exit(code);
}

/// The descriptor that this process was given in place of its standard input.
#[expect(unsafe_code, reason = "a descriptor has come from the parent, as a number")]
fn take_home() -> Option<OwnedFd> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    if TAKEN.swap(1, Relaxed) == 1 {
        return None;
    }
    // SAFETY: a process marked in its first argument gets descriptor 0 for this purpose, nobody
    // else in it reads its standard input, and it is taken once.
    Some(unsafe { OwnedFd::from_raw_fd(0) })
}

/// This program once more, for a call in a new process.
fn another(role: &str, home: OwnedFd, call: Option<&Call>) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(MARK).arg(role).arg(Pid::this().to_string());
    if let Some(call) = call {
        command.arg(serde_json::to_string(call)?); // for everybody to see, in `ps`
    }
    Ok(command.stdin(Stdio::from(home)).spawn()?.into())
}

/// A call in a process that knows nothing of this one. (`multiprocessing`'s start method `spawn`)
///
/// Killed and reaped when dropped without a join.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    result: PipeReader,
}

impl Spawned {
    /// # Errors
    /// No process or no descriptor left.
    pub fn start(call: &Call) -> io::Result<Self> {
        let (result, answers) = io::pipe()?;
        let child = another("spawn", answers.into(), Some(call))?;
        Ok(Self { child, result })
    }

    #[allow(dead_code, reason = "for whoever wants to send it a signal")]
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// # Errors
    /// As those of [`super::process::Process::join`].
    pub fn join(mut self) -> Result<u64, ProcessError> {
        match read_answer(&mut self.result)? {
            Some(answer) => from_answer(&answer),
            None => Err(self.child.reap()?.into()),
        }
    }
}

fn read_answer(result: &mut PipeReader) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    result.read_to_end(&mut bytes)?;
    let mut frames = Frames::default();
    frames.received(&bytes);
    Ok(frames.next())
}

/// A process of one thread that forks on request, whatever runs in the process that requests it.
/// (`multiprocessing`'s start method `forkserver`)
///
/// Ends, with all it has forked, when it is dropped.
#[derive(Debug)]
pub struct ForkServer {
    /// Killed and reaped with this handle.
    server: Child,
    socket: OwnedFd,
}

/// What a fork server is asked. With `Start` comes the pipe for the result.
#[derive(Serialize, Deserialize)]
enum Request {
    Start(Call),
    Reap { pid: i32, kill: bool },
}

/// What it answers.
#[derive(Serialize, Deserialize)]
enum Reply {
    Started(i32),
    NotStarted(String),
    Exited(i32),
    Killed(i32),
}

impl ForkServer {
    /// # Errors
    /// No process or no descriptor left.
    pub fn start() -> io::Result<Self> {
        // Keeps the borders between messages, and a descriptor with its message.
        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok(Self { server: another("forkserver", theirs, None)?, socket })
    }

    /// Starts a call in a process that the server forks. The call has to fit into a message of
    /// about 200 KiB.
    ///
    /// # Errors
    /// No process or no descriptor left, there or here; or the server is gone.
    pub fn spawn(&self, call: &Call) -> io::Result<Served<'_>> {
        let (result, answers) = io::pipe()?;
        send(&self.socket, &Request::Start(call.clone()), Some(answers.as_raw_fd()))?;
        drop(answers);
        match self.reply()? {
            Reply::Started(pid) => Ok(Served { server: self, pid, result, reaped: false }),
            Reply::NotStarted(reason) => Err(io::Error::other(reason)),
            Reply::Exited(_) | Reply::Killed(_) => Err(nonsense()),
        }
    }

    #[allow(dead_code, reason = "for whoever wants to send it a signal")]
    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    fn reply(&self) -> io::Result<Reply> {
        match receive(&self.socket)? {
            Some((reply, _)) => Ok(reply),
            None => Err(io::Error::other("the fork server is gone")),
        }
    }
}

/// A call in a process that a [`ForkServer`] has forked: no child of ours, so the server waits for
/// its end, and tells.
#[derive(Debug)]
pub struct Served<'s> {
    server: &'s ForkServer,
    pid: i32,
    result: PipeReader,
    reaped: bool,
}

impl Served<'_> {
    #[allow(dead_code, reason = "for whoever wants to send it a signal")]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.pid)
    }

    /// # Errors
    /// As those of [`super::process::Process::join`], or the server is gone.
    pub fn join(mut self) -> Result<u64, ProcessError> {
        let answer = read_answer(&mut self.result)?;
        let end = self.reap(false)?;
        match answer {
            Some(answer) => from_answer(&answer),
            None => Err(end),
        }
    }

    fn reap(&mut self, kill: bool) -> io::Result<ProcessError> {
        self.reaped = true;
        send(&self.server.socket, &Request::Reap { pid: self.pid, kill }, None)?;
        match self.server.reply()? {
            Reply::Exited(code) => Ok(ProcessError::Exited(code)),
            Reply::Killed(signal) => Ok(ProcessError::Killed(Signal::try_from(signal)?)),
            Reply::Started(_) | Reply::NotStarted(_) => Err(nonsense()),
        }
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.reap(true);
        }
    }
}

/// A fork server's whole life: it ends when nobody is left to ask it.
fn serve(socket: &OwnedFd) -> i32 {
    let mut children = HashMap::new();
    while let Ok(Some((request, pipe))) = receive(socket) {
        let reply = match (request, pipe) {
            (Request::Start(call), Some(answers)) => {
                // Moved, so that this process keeps no copy of the writing end.
                match Child::fork(move || report(PipeWriter::from(answers), move || call.run())) {
                    Ok(child) => {
                        let pid = child.pid().as_raw();
                        children.insert(pid, child);
                        Reply::Started(pid)
                    }
                    Err(error) => Reply::NotStarted(error.to_string()),
                }
            }
            (Request::Start(_), None) => Reply::NotStarted("no pipe came with the call".into()),
            (Request::Reap { pid, kill }, _) => {
                let Some(mut child) = children.remove(&pid) else { return 1 };
                if kill {
                    let _ = child.kill(Signal::SIGKILL);
                }
                match child.reap() {
                    Ok(WaitStatus::Exited(_, code)) => Reply::Exited(code),
                    Ok(WaitStatus::Signaled(_, signal, _)) => Reply::Killed(signal as i32),
                    _ => return 1,
                }
            }
        };
        if send(socket, &reply, None).is_err() {
            break;
        }
    }
    0
}

/// Sends a message, and a descriptor with it if there is one.
fn send<T: Serialize>(socket: &OwnedFd, message: &T, pass: Option<RawFd>) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let descriptors: Vec<RawFd> = pass.into_iter().collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() { &[] } else { &rights[..] };
    let slices = [IoSlice::new(&text)];
    retry(|| sendmsg::<()>(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None))?;
    Ok(())
}

/// Receives a message and the descriptor that came with it; `None` if the other side is gone.
#[expect(unsafe_code, reason = "a descriptor arrives as a number")]
fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut text = vec![0; 256 * 1024];
    let mut control = cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        // Not `retry`: what is received borrows the buffers.
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut passed = None;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            for fd in descriptors {
                // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
                passed = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    let length = message.bytes;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&text[..length])?, passed)))
}

fn nonsense() -> io::Error {
    io::Error::other("the fork server has answered something else")
}
