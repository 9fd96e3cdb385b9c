//! The aside `clock`: twelve seconds on a clock that is set by hand, and what tests do with it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::registry::Flags;
use common::report::section::Section;

use super::chat_room::one_member;
use crate::twisted::clock::Clock;
use crate::twisted::cooperator::{CooperativeTask, Cooperator};
use crate::twisted::defer::Deferred;
use crate::twisted::io_pump::IoPump;
use crate::twisted::looping_call::LoopingCall;
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::Reactor;
use crate::twisted::transport::Transport;

const SECOND: Duration = Duration::from_secs(1);

/// The seconds of the strips.
const SECONDS: usize = 12;

pub fn aside(_: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = show(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn show(section: &mut Section) -> io::Result<()> {
    let numbers: String = (0..=SECONDS).map(|second| (second % 10).to_string()).collect();
    section.shown.push(format!("  {:<40}{numbers}  seconds by hand", ""));
    for (name, set_up) in STRIPS {
        section.answer.push(format!("  {name:<40}{}", strip(set_up)));
    }
    section.answer.push(format!("  {:<40}{}", "a Cooperator, two tasks step by step", turns()));

    section.answer.push(format!("  {:<40}{}", "  paused, resumed, stopped", controlled()));

    let start = Instant::now();
    let beats = an_hour();
    let took = start.elapsed();
    section.answer.push(format!("  an hour of a heart that beats once per second: {beats} beats"));
    let reactor = Reactor::new()?;
    for (says, seconds) in [("", 59), ("", 60), ("ann\n", 60)] {
        let heard = visit(&reactor, says, seconds);
        let who = if says.is_empty() { "that says nothing" } else { "that says its name" };
        let client = format!("a chat client {who}, {seconds} s");
        section.answer.push(format!("  {client:<40}{heard}"));
    }
    section.measure("an_hour_took_us", (took.as_micros() as u64).into());
    section.shown.push(format!("  that hour took {} µs", took.as_micros()));
    Ok(())
}

/// What happened in this second, as a letter.
#[derive(Clone)]
struct Mark(Rc<Cell<char>>);

impl Mark {
    fn set(&self, letter: char) {
        self.0.set(letter);
    }
}

type SetUp = fn(&Clock, Mark);

const STRIPS: [(&str, SetUp); 6] = [
    ("call_later 5 s", |clock, mark| {
        clock.call_later(SECOND * 5, move || mark.set('●'));
    }),
    ("call_later 5 s, reset to 8 s at 4 s", |clock, mark| {
        let call = clock.call_later(SECOND * 5, move || mark.set('●'));
        clock.call_later(SECOND * 4, move || {
            call.reset(SECOND * 4);
        });
    }),
    ("call_later 5 s, cancelled at 4 s", |clock, mark| {
        let call = clock.call_later(SECOND * 5, move || mark.set('●'));
        clock.call_later(SECOND * 4, move || {
            call.cancel();
        });
    }),
    ("LoopingCall every 2 s", |clock, mark| {
        ignore(LoopingCall::new(clock, move |_| mark.set('●')).start(SECOND * 2));
    }),
    ("LoopingCall every 2 s, each takes 3 s", |clock, mark| {
        let timer = clock.clone();
        let busy = move |_: &LoopingCall| {
            mark.set('●');
            let (done, deferred) = Deferred::<()>::new();
            timer.call_later(SECOND * 3, move || done.callback(()));
            deferred
        };
        ignore(LoopingCall::new(clock, busy).start(SECOND * 2));
    }),
    ("add_timeout 7 s", |clock, mark| {
        let (never, deferred) = Deferred::<()>::new();
        let deferred = deferred.with_canceller(move || drop(never)).add_timeout(SECOND * 7, clock);
        ignore(deferred.add_errback(move |_| mark.set('✗')));
    }),
];

/// Drops it: its errors are reported as unhandled.
fn ignore(deferred: Deferred<()>) {
    drop(deferred);
}

fn strip(set_up: SetUp) -> String {
    let clock = Clock::new();
    let mark = Rc::new(Cell::new('·'));
    set_up(&clock, Mark(mark.clone()));
    let mut strip = String::from(mark.replace('·'));
    for _ in 0..SECONDS {
        clock.advance(SECOND);
        strip.push(mark.replace('·'));
    }
    clock.close();
    strip
}

fn turns() -> String {
    let clock = Clock::new();
    let steps = Rc::new(RefCell::new(String::new()));
    let cooperator = Cooperator::with_slice(&clock, Duration::ZERO);
    for (letter, n) in [('a', 6), ('b', 4)] {
        let steps = steps.clone();
        ignore(cooperator.coiterate((0..n).map(move |_| steps.borrow_mut().push(letter))));
    }
    clock.advance(Duration::ZERO);
    steps.take()
}

/// Two steps, a pause, then resume and stop.
fn controlled() -> String {
    let (clock, log) = (Clock::new(), Rc::new(RefCell::new(String::new())));
    let cooperator = Cooperator::new(&clock);
    let task = Rc::new(RefCell::new(None::<CooperativeTask>));
    let (itself, step) = (task.clone(), log.clone());
    let steps = (1..).map(move |n| {
        step.borrow_mut().push('c');
        if let Some(task) = itself.borrow().as_ref().filter(|_| n % 2 == 0) {
            task.pause();
        }
    });
    *task.borrow_mut() = Some(cooperator.cooperate(steps));
    clock.advance(SECOND);
    log.borrow_mut().push('|');
    clock.advance(SECOND);
    let task = task.take().expect("it was put there");
    task.resume();
    task.stop();
    clock.advance(SECOND);
    let end = log.clone();
    ignore(task.when_done().add_errback(move |_| end.borrow_mut().push('.')));
    log.take()
}

fn an_hour() -> u32 {
    let clock = Clock::new();
    let beats = Rc::new(Cell::new(0));
    let beat = beats.clone();
    let heart = LoopingCall::new(&clock, move |_| beat.set(beat.get() + 1));
    let beating = heart.start(SECOND);
    for _ in 0..60 * 60 {
        clock.advance(SECOND);
    }
    heart.stop();
    drop(beating);
    beats.get()
}

/// A client in memory: sends a line, and keeps the last line received.
struct Visitor(&'static str, Rc<RefCell<String>>);

impl Protocol for Visitor {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.0.as_bytes());
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        let lines = String::from_utf8_lossy(data);
        *self.1.borrow_mut() = lines.lines().last().unwrap_or_default().to_string();
    }

    fn connection_lost(&mut self, _: io::Result<()>) {
        self.1.borrow_mut().push_str(", closed");
    }
}

/// A visit to the chat room, no reactor running: the last line received.
fn visit(reactor: &Reactor, says: &'static str, seconds: u32) -> String {
    let clock = Clock::new();
    let heard = Rc::new(RefCell::new(String::new()));
    let visitor = Visitor(says, heard.clone());
    let mut pump = IoPump::connect(visitor, one_member(reactor), &clock, 1024);
    pump.flush();
    clock.advance(SECOND * seconds);
    pump.flush();
    heard.take()
}
