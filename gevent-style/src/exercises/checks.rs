//! One check for each exercise, for the broken file and for its solution.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::exercise::{Sentence, should, within};

use super::{killed_map, round_the_patch, sleep_zero_loop, solutions};
use crate::gevent::event::Event;
use crate::gevent::greenlet;
use crate::tests::greenlets;

#[test]
#[ignore = "fix gevent-style/src/exercises/round_the_patch.rs"]
fn round_the_patch() -> Result<(), Sentence> {
    check_round_the_patch(round_the_patch::ask)
}

#[test]
fn solution_of_round_the_patch() -> Result<(), Sentence> {
    check_round_the_patch(solutions::round_the_patch::ask)
}

#[test]
#[ignore = "fix gevent-style/src/exercises/sleep_zero_loop.rs"]
fn sleep_zero_loop() -> Result<(), Sentence> {
    check_sleep_zero_loop(sleep_zero_loop::wait_until)
}

#[test]
fn solution_of_sleep_zero_loop() -> Result<(), Sentence> {
    check_sleep_zero_loop(solutions::sleep_zero_loop::wait_until)
}

#[test]
#[ignore = "fix gevent-style/src/exercises/killed_map.rs"]
fn killed_map() -> Result<(), Sentence> {
    check_killed_map(killed_map::map)
}

#[test]
fn solution_of_killed_map() -> Result<(), Sentence> {
    check_killed_map(solutions::killed_map::map)
}

/// Longer than in other programs: all tests share one hub, and some of them stop it for a while.
const LIMIT: Duration = Duration::from_secs(10);

/// On a busy machine a greenlet may be late, but not every time.
const ROUNDS: usize = 3;

fn check_round_the_patch(ask: fn(&dyn Fn(round_the_patch::Answer)) -> u32) -> Result<(), Sentence> {
    let sentence = "while one greenlet waits for an answer, another one should run and give it";
    let by_a_greenlet = within(LIMIT, sentence, move || {
        greenlets(move || (0..ROUNDS).any(|_| ask(&question) == BY_A_GREENLET))
    })?;
    should(by_a_greenlet, sentence)
}

const BY_A_GREENLET: u32 = 1;
const BY_AN_OS_THREAD: u32 = 2;

/// A greenlet answers it or, if no greenlet runs, an OS thread a while later.
fn question(answer: round_the_patch::Answer) {
    let (answered, was_answered) = mpsc::channel();
    let late = answer.clone();
    thread::spawn(move || {
        if was_answered.recv_timeout(Duration::from_secs(1)).is_err() {
            late(BY_AN_OS_THREAD);
        }
    });
    greenlet::spawn(move || {
        answer(BY_A_GREENLET);
        let _ = answered.send(()); // too late, if the OS thread has answered
    });
}

fn check_sleep_zero_loop(wait_until: fn(&dyn Fn() -> bool)) -> Result<(), Sentence> {
    let wait = "the wait should end when what is waited for is ready";
    let (ready, asked) = within(LIMIT, wait, move || {
        greenlets(move || {
            let (ready, asked) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
            let theirs = ready.clone();
            let other = greenlet::spawn(move || theirs.store(true, SeqCst));
            wait_until(&|| asked.fetch_add(1, SeqCst) >= 1000 || ready.load(SeqCst));
            let ready = ready.load(SeqCst);
            other.join().expect("it does not panic");
            (ready, asked.into_inner())
        })
    })?;
    let sentence = format!(
        "between two questions the other greenlet should have its turn; {asked} were asked, \
         and it had none"
    );
    should(ready, sentence)
}

type Work = Box<dyn Fn(u32) -> u32 + Send + Sync>;

fn check_killed_map(map: fn(Vec<u32>, Work) -> Vec<u32>) -> Result<(), Sentence> {
    let squares = within(LIMIT, "map should come to its end", move || {
        greenlets(move || map(vec![1, 2, 3], Box::new(|item| item * item)))
    })?;
    should(squares == [1, 4, 9], format!("the results should be [1, 4, 9], not {squares:?}"))?;
    let wait = "a greenlet that is killed while it waits in map should end";
    let (started, ended, running) = within(LIMIT, wait, move || greenlets(move || kill(map)))?;
    should(started == 3, format!("three items should be worked on at once, not {started}"))?;
    should(ended, "the kill should end a greenlet that waits in map")?;
    let sentence = format!(
        "a greenlet that is killed while it waits in map should end its own greenlets; \
         {running} of 3 still run"
    );
    should(running == 0, sentence)
}

/// How many greenlets ran in a `map`, whether a kill ended it, and how many still run after that.
fn kill(map: fn(Vec<u32>, Work) -> Vec<u32>) -> (usize, bool, usize) {
    let running = Arc::new(AtomicUsize::new(0));
    let gate = Event::new();
    let (theirs, their_gate) = (running.clone(), gate.clone());
    let work: Work = Box::new(move |item| {
        let _running = Running::new(&theirs);
        their_gate.wait();
        item
    });
    let task = greenlet::spawn(move || map(vec![1, 2, 3], work));
    some_turns();
    let started = running.load(SeqCst);
    task.kill();
    let ended = task.join().is_err();
    some_turns();
    let still_running = running.load(SeqCst);
    gate.set();
    some_turns();
    (started, ended, still_running)
}

/// Enough turns for every other greenlet to get as far as it can.
fn some_turns() {
    for _ in 0..100 {
        thread::yield_now();
    }
}

/// Counts for as long as it exists.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(running: &Arc<AtomicUsize>) -> Running {
        running.fetch_add(1, SeqCst);
        Running(running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
