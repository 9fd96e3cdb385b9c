//! Step 4: sockets. A task that reads leaves the queue until the kernel says that there is data.
//! One `poll` for all: it sleeps until the first socket has some. (A server would add writing.)
//! Run it: cargo run -p coroutines --example step-4-poll

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use corosensei::{Coroutine, CoroutineResult, Yielder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

enum Request {
    Turn,
    Readable(Rc<UnixStream>),
}

type Task = Coroutine<(), Request, io::Result<()>>;

fn schedule(mut line: VecDeque<Task>) -> io::Result<()> {
    let mut reading: Vec<(Rc<UnixStream>, Task)> = Vec::new();
    loop {
        while let Some(mut task) = line.pop_front() {
            match task.resume(()) {
                CoroutineResult::Yield(Request::Turn) => line.push_back(task),
                CoroutineResult::Yield(Request::Readable(socket)) => reading.push((socket, task)),
                CoroutineResult::Return(result) => result?,
            }
        }
        if reading.is_empty() {
            return Ok(());
        }
        let sockets = reading.iter().map(|(socket, _)| socket.as_fd());
        let mut fds: Vec<PollFd> = sockets.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::NONE)?;
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        for (at, (socket, task)) in std::mem::take(&mut reading).into_iter().enumerate() {
            if ready[at] {
                line.push_back(task);
            } else {
                reading.push((socket, task));
            }
        }
    }
}

/// Looks like a blocking read, but only the task waits.
fn read(yielder: &Yielder<(), Request>, socket: &Rc<UnixStream>) -> io::Result<String> {
    yielder.suspend(Request::Readable(socket.clone()));
    let mut buf = [0; 64];
    let n = (&**socket).read(&mut buf)?;
    Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
}

pub fn show() -> io::Result<String> {
    let log = Rc::new(RefCell::new(Vec::new()));
    let (ours, theirs) = UnixStream::pair()?;
    let (ours, theirs) = (Rc::new(ours), Rc::new(theirs));
    let (asked, answered) = (log.clone(), log.clone());
    let client = Task::new(move |yielder, ()| {
        for question in ["ping", "ping again"] {
            (&*ours).write_all(question.as_bytes())?;
            yielder.suspend(Request::Turn);
            let answer = read(yielder, &ours)?; // first the wait, then the borrow
            asked.borrow_mut().push(answer);
        }
        ours.shutdown(std::net::Shutdown::Write)
    });
    let server = Task::new(move |yielder, ()| {
        loop {
            let question = read(yielder, &theirs)?;
            if question.is_empty() {
                return Ok(()); // the client has finished
            }
            answered.borrow_mut().push(question.clone());
            (&*theirs).write_all(question.replace("ping", "pong").as_bytes())?;
        }
    });
    schedule(VecDeque::from([server, client]))?;
    Ok(log.take().join(", "))
}

fn main() -> io::Result<()> {
    println!("{}", show()?);
    Ok(())
}
