//! scheduler: from taking turns to waiting for sockets, step by step.
//! Each step is a program of its own in `examples/`, and adds one idea to the previous step.
//! Run it: cargo run -p coroutines -- scheduler

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::registry::Flags;
use common::report::section::Section;
use corosensei::Coroutine;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use crate::asides::generators::nanoseconds;
use crate::coroutine::scheduler::{self, sleep, spawn, yield_now};
use crate::coroutine::sync::{Sender, channel};
use crate::coroutine::wait::{readable, wait, wait_any};

// The steps as they are; their `main` is for `cargo run --example`.
#[allow(dead_code)]
#[path = "../../examples/step-1-round-robin.rs"]
mod step_1;
#[allow(dead_code)]
#[path = "../../examples/step-2-join.rs"]
mod step_2;
#[allow(dead_code)]
#[path = "../../examples/step-3-sleep.rs"]
mod step_3;
#[allow(dead_code)]
#[path = "../../examples/step-4-poll.rs"]
mod step_4;
#[allow(dead_code)]
#[path = "../../examples/step-5-deadline.rs"]
mod step_5;

/// How many wait while one of them is woken.
const MANY: usize = 400;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    let mut step = |name: &str, idea: &str, shows: String| {
        section.answer.push(format!("  {name:<20}{idea}"));
        section.answer.push(format!("  {:<20}  {shows}", ""));
    };
    step("step-1-round-robin", "a task that yields goes to the end of the queue", step_1::show());
    step("step-2-join", "what is yielded is a request: spawn, join", step_2::show());
    step("step-3-sleep", "timers; if the queue is empty, the thread sleeps", step_3::show());
    let shown = |result: io::Result<String>| result.unwrap_or_else(|error| error.to_string());
    step("step-4-poll", "and wakes for sockets: one poll for all", shown(step_4::show()));
    let fifth = shown(step_5::show());
    step("step-5-deadline", "one wait: sources and a deadline", fifth.clone());
    let last = shown(scheduler::run(last_step));
    step("scheduler.rs", "the same, nothing passed along; epoll", last.clone());
    if last != fifth {
        section.wrong = Some("the last step does not do what the step before it does".into());
    }
    section.shown.push("  run one: cargo run -p coroutines --example step-1-round-robin".into());
    compare(&mut section);
    section
}

/// The program of step 5 on the real scheduler: no function takes a yielder.
fn last_step() -> io::Result<String> {
    let log = Rc::new(RefCell::new(Vec::new()));
    let (ours, mut theirs) = UnixStream::pair()?;
    let (silent, _also_silent) = UnixStream::pair()?;
    let heard = log.clone();
    let listener = spawn(move || {
        for timeout in [Duration::from_secs(5), Duration::from_millis(30)] {
            let sources = [readable(&silent), readable(&ours)];
            let line = match wait_any(&sources, Instant::now() + timeout) {
                Ok(index) => {
                    (&ours).read_exact(&mut [0; 5])?;
                    format!("source {index} is ready")
                }
                Err(error) => error.to_string(),
            };
            heard.borrow_mut().push(line);
        }
        io::Result::Ok(())
    });
    let talker = spawn(move || {
        sleep(Duration::from_millis(5));
        theirs.write_all(b"hello")?;
        sleep(Duration::from_millis(50)); // and then sends nothing until after the deadline
        io::Result::Ok(())
    });
    for task in [listener, talker] {
        task.join()??;
    }
    Ok(log.take().join(", "))
}

/// What a switch costs, layer by layer, and what it costs to find the task that is ready.
fn compare(section: &mut Section) {
    let mut bare: Coroutine<(), (), ()> = Coroutine::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    let bare = nanoseconds(|| bare.resume(()));
    let (turn, handover) = scheduler::run(|| {
        let (outbox, theirs) = channel::<u32>();
        let (answers, inbox) = channel();
        spawn(move || {
            while let Ok(token) = theirs.recv() {
                let _ = answers.send(token + 1);
            }
        });
        let handover = nanoseconds(|| outbox.send(1).is_ok() && inbox.recv().is_ok());
        drop(outbox);
        spawn(|| {
            loop {
                yield_now();
            }
        });
        (nanoseconds(yield_now), handover)
    });
    section.measure("bare_ns", json!(bare));
    section.measure("turn_ns", json!(turn));
    section.measure("handover_ns", json!(handover));
    section.shown.push(format!("  there and back: corosensei alone {bare:>5.1} ns"));
    section.shown.push(format!("                  by turns         {turn:>5.1} ns"));
    section.shown.push(format!("                  by channels      {handover:>5.1} ns"));
    let many = pairs().and_then(|pairs| {
        let polled = poll_crowd(&pairs)?;
        Ok((polled, scheduler::run(|| wake_from_crowd(pairs))?))
    });
    let line = match many {
        Ok((polled, woken)) => {
            section.measure("poll_us", json!(polled));
            section.measure("epoll_us", json!(woken));
            format!(
                "  {MANY} wait and one is ready: to poll {polled:.1} µs, \
                 by epoll to its task {woken:.1} µs"
            )
        }
        Err(error) => format!("  {MANY} cannot wait: {error}"),
    };
    section.shown.push(line);
}

fn pairs() -> io::Result<Vec<(UnixStream, UnixStream)>> {
    (0..MANY).map(|_| UnixStream::pair()).collect()
}

/// Microseconds to ask the kernel for the one that is ready, with all of them in the call.
fn poll_crowd(pairs: &[(UnixStream, UnixStream)]) -> io::Result<f64> {
    let last = pairs.last().expect("many");
    (&last.1).write_all(b"x")?;
    let mut fds: Vec<PollFd> =
        pairs.iter().map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    let times = (0..100).map(|_| {
        let start = Instant::now();
        poll(&mut fds, PollTimeout::ZERO)?;
        Ok(start.elapsed())
    });
    let shortest = times.collect::<io::Result<Vec<_>>>()?.into_iter().min();
    (&last.0).read_exact(&mut [0])?;
    Ok(shortest.unwrap_or_default().as_secs_f64() * 1e6)
}

/// Microseconds from a byte written to the task woken by it, one of many, and back.
fn wake_from_crowd(pairs: Vec<(UnixStream, UnixStream)>) -> io::Result<f64> {
    let (outbox, inbox) = channel();
    let mut writers = Vec::new();
    for (ours, theirs) in pairs {
        let outbox = outbox.clone();
        spawn(move || answer(&ours, &outbox));
        writers.push(theirs);
    }
    yield_now();
    let mut shortest = Duration::MAX;
    for writer in &mut writers {
        let start = Instant::now();
        writer.write_all(b"x")?;
        inbox.recv().map_err(io::Error::other)?;
        shortest = shortest.min(start.elapsed());
    }
    Ok(shortest.as_secs_f64() * 1e6)
}

/// Wakes main for every byte.
fn answer(socket: &UnixStream, outbox: &Sender<()>) -> io::Result<()> {
    loop {
        wait(readable(socket), None)?;
        (&*socket).read_exact(&mut [0])?;
        outbox.send(()).map_err(io::Error::other)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_show_what_they_should() -> io::Result<()> {
        assert_eq!(step_1::show(), "a1 b1 c1 a2 b2 c2 a3 b3 c3");
        assert_eq!(step_2::show(), "a1 b1 a2 b2 joined-1 joined-2");
        assert_eq!(step_3::show(), "10ms 20ms 30ms");
        assert_eq!(step_4::show()?, "ping, pong, ping again, pong again");
        assert_eq!(step_5::show()?, "source 1 is ready, timed out");
        assert_eq!(scheduler::run(last_step)?, "source 1 is ready, timed out");
        Ok(())
    }
}
