//! Step 5: one request for every wait. It names sources and a deadline, and the first one wins.
//! To sleep is to wait for no source. (The last step is src/coroutine/scheduler.rs.)
//! Run it: cargo run -p coroutines --example step-5-deadline

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult, Yielder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What a task waits for.
struct Wait {
    readable: Vec<Rc<UnixStream>>,
    deadline: Instant,
}

/// Which source is ready, or none at the deadline.
type Answer = Option<usize>;

type Task = Coroutine<Answer, Wait, io::Result<()>>;

fn schedule(tasks: Vec<Task>) -> io::Result<()> {
    let mut line: VecDeque<(Task, Answer)> = tasks.into_iter().map(|task| (task, None)).collect();
    let mut waiting: Vec<(Wait, Task)> = Vec::new();
    loop {
        while let Some((mut task, answer)) = line.pop_front() {
            match task.resume(answer) {
                CoroutineResult::Yield(wait) => waiting.push((wait, task)),
                CoroutineResult::Return(result) => result?,
            }
        }
        let Some(first) = waiting.iter().map(|(wait, _)| wait.deadline).min() else {
            return Ok(());
        };
        let sources = waiting.iter().flat_map(|(wait, _)| &wait.readable);
        let fds = sources.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let mut fds: Vec<PollFd> = fds.collect();
        let left = first.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))?;
        let mut ready = fds.iter().map(|fd| fd.any() == Some(true)).collect::<Vec<_>>().into_iter();
        for (wait, task) in std::mem::take(&mut waiting) {
            let news: Vec<bool> = ready.by_ref().take(wait.readable.len()).collect();
            match news.iter().position(|&ready| ready) {
                Some(index) => line.push_back((task, Some(index))),
                None if wait.deadline <= Instant::now() => line.push_back((task, None)),
                None => waiting.push((wait, task)),
            }
        }
    }
}

fn sleep(yielder: &Yielder<Answer, Wait>, time: Duration) {
    yielder.suspend(Wait { readable: Vec::new(), deadline: Instant::now() + time });
}

pub fn show() -> io::Result<String> {
    let log = Rc::new(RefCell::new(Vec::new()));
    let (ours, theirs) = UnixStream::pair()?;
    let (also_ours, _silent) = UnixStream::pair()?;
    let heard = log.clone();
    let listener = Task::new(move |yielder, _| {
        let (talker, silent) = (Rc::new(ours), Rc::new(also_ours));
        for timeout in [Duration::from_secs(5), Duration::from_millis(30)] {
            let readable = vec![silent.clone(), talker.clone()];
            let deadline = Instant::now() + timeout;
            let answer = yielder.suspend(Wait { readable, deadline });
            heard.borrow_mut().push(match answer {
                Some(index) => {
                    (&*talker).read_exact(&mut [0; 5])?;
                    format!("source {index} is ready")
                }
                None => "timed out".to_string(),
            });
        }
        Ok(())
    });
    let talker = Task::new(move |yielder, _| {
        sleep(yielder, Duration::from_millis(5));
        (&theirs).write_all(b"hello")?;
        sleep(yielder, Duration::from_millis(50)); // and then sends nothing until after the deadline
        Ok(())
    });
    schedule(vec![listener, talker])?;
    Ok(log.take().join(", "))
}

fn main() -> io::Result<()> {
    println!("{}", show()?);
    Ok(())
}
