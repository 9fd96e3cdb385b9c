//! The three ways to start a process, under the names that `multiprocessing` gives them.
//!
//! | method | the child is | what it can be given |
//! |---|---|---|
//! | `fork` | a copy of this process | anything: [`super::process::spawn`] |
//! | `forkserver` | a copy of a small process started for this, [`ForkServer`] | a [`Call`] |
//! | `spawn` | this program, started from the beginning, [`Spawned`] | a [`Call`] |
//!
//! A copy is cheap, has all data of its parent, and also every lock that another thread held at
//! that moment, locked forever. The other two have only what they are given, and can be started
//! safely at any time, from any thread. Python's default on Linux was `fork`, and is `forkserver`
//! since 3.14.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio, exit};
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, dup2_stdin, getppid};
use serde::{Deserialize, Serialize};

use super::answer::{AnswerFile, ProcessError, from_answer};
use super::child::{
    Child, End, exit_now, is_readable, not_ours, not_started, pidfd_open, retry, settle_in,
    wait_readable,
};
use super::connection::{receive, send};

/// A request to another program: the name of a function, and plain data. A closure would contain an
/// address, which means nothing in another process. (`pickle` sends functions the same way.)
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    pub function: String,
    pub argument: u64,
}

/// The functions of a program that can be called by name.
pub type Functions = [(&'static str, fn(u64) -> u64)];

impl Call {
    pub fn new(function: &str, argument: u64) -> Self {
        Self { function: function.to_owned(), argument }
    }

    /// # Panics
    /// If there is no such function.
    pub fn run(self, functions: &Functions) -> u64 {
        let named = functions.iter().find(|(name, _)| *name == self.function);
        let Some((_, function)) = named else { panic!("no function {}", self.function) };
        function(self.argument)
    }
}

/// The first argument of a process that [`Spawned`] or [`ForkServer`] started.
const MARK: &str = "--multiprocessing-fork";

/// The message that carries its descriptor: an empty message would look like the end.
const HELLO: u8 = 1;

/// In a process that was started to work, does that work and exits. In any other process, returns.
/// First line of `main`, as in Python: `multiprocessing.freeze_support()`.
pub fn freeze_support(functions: &Functions) {
    let mut arguments = env::args_os().skip(1).map(OsString::into_string);
    if arguments.next() != Some(Ok(MARK.to_owned())) {
        return;
    }
    let mut next = || arguments.next()?.ok();
    let (role, parent, call) = (next(), next(), next());
    let parent = parent.and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
    let (Some(role), Some(parent), Ok((home, given))) = (role, parent, take_home()) else {
        eprintln!("error: {MARK} is for processes that this program starts");
        exit(2);
    };
    settle_in();
    let call = call.and_then(|call| serde_json::from_str::<Call>(&call).ok());
    let code = match (role.as_str(), call) {
        ("spawn", Some(call)) => {
            die_with(home.as_fd(), parent);
            AnswerFile::from(given).report(move || call.run(functions))
        }
        ("forkserver", _) => serve(given.as_fd(), parent, functions),
        _ => 2,
    };
    exit(code);
}

/// The socket that this process got as its standard input, and the descriptor that was sent through
/// it. From then on the standard input is empty, as in Python.
fn take_home() -> io::Result<(OwnedFd, OwnedFd)> {
    let home = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    match receive(home.as_fd())? {
        Some((HELLO, Some(given))) => Ok((home, given)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Makes the kernel kill this process when its parent ends, and so the other end of `home` closes.
/// `PR_SET_PDEATHSIG` would watch the thread that started this process, and that thread may end
/// earlier.
#[expect(unsafe_code, reason = "nix does not know these settings")]
fn die_with(home: BorrowedFd<'_>, parent: Pid) {
    let fd = home.as_raw_fd();
    // SAFETY: these calls take numbers. From now on the kernel sends SIGKILL on an event of this
    // socket (`man 2 fcntl`, signal-driven I/O). The only possible event is its end.
    unsafe {
        libc::fcntl(fd, libc::F_SETOWN, libc::getpid());
        libc::fcntl(fd, F_SETSIG, libc::SIGKILL);
        libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC);
    }
    if is_readable(home) || getppid() != parent {
        exit_now(1); // it has already ended, and no signal will come
    }
}

/// libc defines it only for some targets.
const F_SETSIG: i32 = 10;

/// Starts this program again, in a process that is given a descriptor. Returns also the other end
/// of its socket, which has to be kept as long as the process.
fn another(role: &str, given: BorrowedFd<'_>, call: Option<&Call>) -> io::Result<(Child, OwnedFd)> {
    let (home, theirs) = pair()?;
    send(home.as_fd(), &HELLO, Some(given))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(MARK).arg(role).arg(Pid::this().to_string());
    if let Some(call) = call {
        command.arg(serde_json::to_string(call)?); // visible in `ps`
    }
    let child = command.stdin(Stdio::from(theirs)).spawn().map_err(not_started)?;
    Ok((Child::adopt(Pid::from_raw(child.id() as i32))?, home))
}

/// Two sockets that keep messages separate, each with its descriptor.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    pair.map_err(|errno| not_started(errno.into()))
}

/// A call in a process that shares nothing with this one. (`multiprocessing`'s start method
/// `spawn`)
///
/// Killed and reaped when dropped without a join.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    answer: AnswerFile,
    /// The process is killed when this end is closed.
    _home: OwnedFd,
}

impl Spawned {
    /// # Errors
    /// No process or no descriptor left.
    pub fn start(call: &Call) -> io::Result<Self> {
        let answer = AnswerFile::new()?;
        let (child, home) = another("spawn", answer.as_fd(), Some(call))?;
        Ok(Self { child, answer, _home: home })
    }

    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// # Errors
    /// As those of [`super::process::Process::join`].
    pub fn join(mut self) -> Result<u64, ProcessError> {
        let end = self.child.reap()?;
        match self.answer.read()? {
            Some(answer) => from_answer(&answer),
            None => Err(ProcessError::Ended(end)),
        }
    }
}

/// A process of one thread that forks on request. So other processes can request it even if they
/// have threads. (`multiprocessing`'s start method `forkserver`) Several threads may use it.
///
/// When it is dropped, it ends, and so do all processes that it forked.
#[derive(Debug)]
pub struct ForkServer {
    /// Killed and reaped with this handle.
    server: Child,
    /// Locked from the request to its reply: a reply does not say which thread it is for.
    socket: Mutex<OwnedFd>,
    owner: Pid,
    /// Its first socket, which carries no more messages.
    _home: OwnedFd,
}

/// A request to a fork server. `Start` comes with the file for the answer.
#[derive(Serialize, Deserialize)]
enum Request {
    Start(Call),
    Reap { pid: i32, kill: bool },
}

/// The reply. `Started` comes with the pidfd of the child.
#[derive(Serialize, Deserialize)]
enum Reply {
    Started(i32),
    NotStarted(String),
    Ended(End),
}

impl ForkServer {
    /// # Errors
    /// No process or no descriptor left.
    pub fn start() -> io::Result<Self> {
        let (socket, theirs) = pair()?;
        let (server, home) = another("forkserver", theirs.as_fd(), None)?;
        Ok(Self { server, socket: Mutex::new(socket), owner: Pid::this(), _home: home })
    }

    /// Starts a call in a process that the server forks. The call has to fit into a message of
    /// about 200 KiB.
    ///
    /// # Errors
    /// No process or no descriptor left, here or in the server; the server is gone; it belongs to
    /// another process.
    pub fn spawn(&self, call: &Call) -> io::Result<Served<'_>> {
        let answer = AnswerFile::new()?;
        match self.ask(&Request::Start(call.clone()), Some(answer.as_fd()))? {
            (Reply::Started(pid), Some(pidfd)) => {
                Ok(Served { server: self, pid, pidfd, answer, reaped: false })
            }
            (Reply::Started(pid), None) => {
                self.ask(&Request::Reap { pid, kill: true }, None)?;
                Err(not_started(io::Error::from_raw_os_error(libc::EMFILE)))
            }
            (Reply::NotStarted(reason), _) => Err(io::Error::other(reason)),
            (Reply::Ended(_), _) => Err(wrong_reply()),
        }
    }

    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    fn ask(
        &self,
        request: &Request,
        pass: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Reply, Option<OwnedFd>)> {
        if self.owner != Pid::this() {
            return Err(not_ours(self.owner));
        }
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |_| io::Error::other("the fork server is gone");
        send(socket.as_fd(), request, pass).map_err(|error| match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET) => gone(error),
            _ => error,
        })?;
        let reply = receive(socket.as_fd()).map_err(gone)?;
        reply.ok_or_else(|| gone(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// A call in a process that a [`ForkServer`] forked. It is not a child of this process, so the
/// server reaps it and reports how it ended.
///
/// Killed and reaped when dropped without a join.
#[derive(Debug)]
pub struct Served<'s> {
    server: &'s ForkServer,
    pid: i32,
    pidfd: OwnedFd,
    answer: AnswerFile,
    reaped: bool,
}

impl Served<'_> {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.pid)
    }

    /// # Errors
    /// As those of [`super::process::Process::join`], or the server is gone.
    pub fn join(mut self) -> Result<u64, ProcessError> {
        if self.server.owner != Pid::this() {
            return Err(not_ours(self.server.owner).into());
        }
        // The wait is here: the server never waits for one process, so that it can serve the
        // others.
        wait_readable(self.pidfd.as_fd())?;
        let end = self.reap(false);
        match self.answer.read()? {
            Some(answer) => from_answer(&answer), // even if the server is gone
            None => Err(ProcessError::Ended(end?)),
        }
    }

    fn reap(&mut self, kill: bool) -> io::Result<End> {
        self.reaped = true;
        match self.server.ask(&Request::Reap { pid: self.pid, kill }, None)? {
            (Reply::Ended(end), _) => Ok(end),
            _ => Err(wrong_reply()),
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

/// The main loop of a fork server. It ends when no process is left that could send a request.
fn serve(socket: BorrowedFd<'_>, parent: Pid, functions: &Functions) -> i32 {
    // The end of the socket alone is not enough: a process that its parent forked later may hold a
    // copy of the other end.
    let Ok(life) = pidfd_open(parent) else { return 1 };
    if getppid() != parent {
        return 1;
    }
    let mut children = HashMap::new();
    loop {
        let mut sources =
            [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(life.as_fd(), PollFlags::POLLIN)];
        if retry(|| poll(&mut sources, PollTimeout::NONE)).is_err()
            || sources[1].any() == Some(true)
        {
            return 0;
        }
        let Ok(Some((request, file))) = receive(socket) else { return 0 };
        let reply = match (request, file) {
            (Request::Start(call), Some(file)) => {
                start(call, file.into(), &mut children, functions)
            }
            (Request::Start(_), None) => {
                // The message arrived, but this process had no free descriptor for the one it
                // carried.
                let error = not_started(io::Error::from_raw_os_error(libc::EMFILE));
                Reply::NotStarted(format!("the fork server: {error}"))
            }
            (Request::Reap { pid, kill }, _) => Reply::Ended(end(children.remove(&pid), kill)),
        };
        let pidfd = match reply {
            Reply::Started(pid) => children.get(&pid).and_then(Child::pidfd),
            _ => None,
        };
        if send(socket, &reply, pidfd).is_err() {
            return 0;
        }
    }
}

fn start(
    call: Call,
    answer: AnswerFile,
    children: &mut HashMap<i32, Child>,
    functions: &Functions,
) -> Reply {
    let forked = Child::fork(|| {
        // The child must not handle the other children of the server.
        mem::take(children);
        answer.report(move || call.run(functions))
    });
    match forked {
        Ok(child) => {
            let pid = child.pid().as_raw();
            children.insert(pid, child);
            Reply::Started(pid)
        }
        Err(error) => Reply::NotStarted(format!("the fork server: {error}")),
    }
}

fn end(child: Option<Child>, kill: bool) -> End {
    let Some(mut child) = child else { return End::Unknown };
    if kill {
        let _ = child.kill(Signal::SIGKILL);
    }
    child.reap().unwrap_or(End::Unknown)
}

fn wrong_reply() -> io::Error {
    io::Error::other("the fork server has replied something else")
}
