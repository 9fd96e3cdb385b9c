//! One check for each exercise, for the broken file and for its solution.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::exercise::{LIMIT, Sentence, should, within};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{dead_worker, lock_in_fork, open_end, solutions};
use crate::multiprocessing::child::{Child, End, retry};

#[test]
#[ignore = "fix processes/src/exercises/lock_in_fork.rs"]
fn lock_in_fork() -> Result<(), Sentence> {
    check_lock_in_fork(lock_in_fork::report)
}

#[test]
fn solution_of_lock_in_fork() -> Result<(), Sentence> {
    check_lock_in_fork(solutions::lock_in_fork::report)
}

#[test]
#[ignore = "fix processes/src/exercises/dead_worker.rs"]
fn dead_worker() -> Result<(), Sentence> {
    check_dead_worker(dead_worker::collect)
}

#[test]
fn solution_of_dead_worker() -> Result<(), Sentence> {
    check_dead_worker(solutions::dead_worker::collect)
}

#[test]
#[ignore = "fix processes/src/exercises/open_end.rs"]
fn open_end() -> Result<(), Sentence> {
    check_open_end(open_end::output)
}

#[test]
fn solution_of_open_end() -> Result<(), Sentence> {
    check_open_end(solutions::open_end::output)
}

/// One check at a time: a fork copies all descriptors, so a child of one check would hold the
/// pipes of another open.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On a busy machine the lock may be released before the fork, but not every time.
const ROUNDS: usize = 3;

fn check_lock_in_fork(report: fn(&Mutex<i32>) -> io::Result<Child>) -> Result<(), Sentence> {
    let _alone = alone();
    let sentence = "the child should exit with the number, not wait for a lock that a thread of \
                    its parent held when it was forked";
    for _ in 0..ROUNDS {
        let end = within(2 * LIMIT, sentence, move || {
            let mut child = fork_while_locked(report).expect("a process can be forked");
            end_within(&mut child, LIMIT)
        })?;
        match end {
            Some(end) => should(end == End::Exited(7), format!("it should exit with 7: {end}"))?,
            None => return Err(sentence.into()),
        }
    }
    Ok(())
}

/// Calls `report` while another thread holds the lock: until it has returned, or for a while if it
/// waits for the lock itself.
fn fork_while_locked(report: fn(&Mutex<i32>) -> io::Result<Child>) -> io::Result<Child> {
    let counter = &Mutex::new(7);
    let (locked, is_locked) = channel();
    let (forked, has_forked) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let _held = counter.lock();
            let _ = locked.send(());
            let _ = has_forked.recv_timeout(Duration::from_millis(200));
        });
        is_locked.recv().expect("it locks");
        let child = report(counter);
        let _ = forked.send(());
        child
    })
}

/// How the child has ended, if it has ended in time. Otherwise it is killed.
fn end_within(child: &mut Child, limit: Duration) -> Option<End> {
    if let Some(pidfd) = child.pidfd() {
        let mut sources = [PollFd::new(pidfd, PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).expect("it is short");
        if retry(|| poll(&mut sources, timeout)) == Ok(0) {
            return None;
        }
    }
    child.reap().ok()
}

type Collect = fn(Vec<process::Child>) -> io::Result<Vec<Result<String, ExitStatus>>>;

fn check_dead_worker(collect: Collect) -> Result<(), Sentence> {
    let _alone = alone();
    let waits =
        "a worker that was killed should be an error, and its line should not be waited for";
    let answers = within(LIMIT, waits, move || {
        let scripts = ["echo 1", "kill -9 $$", "printf 3; kill -9 $$", "echo 4; exit 5"];
        let workers = scripts.map(|script| {
            let worker = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn();
            worker.expect("there is a shell")
        });
        collect(workers.into())
    })?;
    let answers = answers.map_err(|error| format!("a dead worker fails alone: {error}"))?;
    let killed = || Err(ExitStatus::from_raw(libc::SIGKILL));
    let expected = [Ok("1\n".into()), killed(), killed(), Ok("4\n".into())];
    let sentence = format!("two workers answer, two are killed: {expected:?}, not {answers:?}");
    should(answers == expected, sentence)
}

fn check_open_end(output: fn(Command) -> io::Result<String>) -> Result<(), Sentence> {
    let _alone = alone();
    let waits = "what a command prints should end when the command has, not be waited for while \
                 this process holds a writing end";
    let printed = within(LIMIT, waits, move || {
        let mut command = Command::new("sh");
        command.args(["-c", "echo a; echo b"]);
        output(command)
    })?;
    let printed = printed.map_err(|error| format!("the command should run: {error}"))?;
    should(printed == "a\nb\n", format!("all that the command prints, not {printed:?}"))
}
