//! delegation: the same conversation with a generator and with one that delegates to it.
//! If `yield from` lets everything through, the caller cannot tell the difference.
//! Run it: cargo run -p coroutines -- delegation

use std::cell::RefCell;
use std::rc::Rc;

use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use serde_json::json;

use crate::asides::generators::nanoseconds;
use crate::coroutine::delegation::{yield_each, yield_from};
use crate::coroutine::generators::{Generator, GeneratorExit, Raised, Step};

/// It is sent words, yields words, and returns a word.
type Waiter = Generator<&'static str, &'static str, &'static str>;

/// What the waiter noticed.
type Log = Rc<RefCell<Vec<String>>>;

enum Ask {
    Start,
    Send(&'static str),
    Throw(&'static str),
    Close,
}

/// What has to pass through `yield from`, and a conversation in which it does.
const WAYS: [(&str, &[Ask]); 6] = [
    ("values out", &[Ask::Start, Ask::Send("tea"), Ask::Send("nothing")]),
    ("values in", &[Ask::Start, Ask::Send("tea"), Ask::Send("cake")]),
    ("errors in", &[Ask::Start, Ask::Throw("spilled"), Ask::Send("tea")]),
    ("errors out", &[Ask::Start, Ask::Send("coffee")]),
    ("the return value", &[Ask::Start, Ask::Send("the bill")]),
    ("close", &[Ask::Start, Ask::Send("tea"), Ask::Close]),
];

/// How many generators there are between the caller and the waiter.
const LEVELS: usize = 3;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    section.answer.push(row("passes through", "the caller gets", "the waiter notices"));
    let mut same = 0;
    for (way, asks) in WAYS {
        let directly = hold(asks, 0);
        let through = hold(asks, LEVELS);
        same += usize::from(directly == through);
        section.answer.push(row(way, &through.0, &through.1));
    }
    let squares = Generator::new(|yielder| yield_each(yielder, (1..=5).map(|n| n * n)));
    let squares: Vec<u32> = squares.collect();
    section.answer.push(format!("  and any iterable will do: {squares:?}"));
    section.measure("ways", json!(WAYS.len()));
    section.measure("same", json!(same));
    section.measure("levels", json!(LEVELS));
    if same < WAYS.len() {
        section.wrong = Some("yield from changes what passes through it".into());
    }
    for levels in [0, 1, 10] {
        let mut echo = delegate(levels, echo());
        let started = echo.start().is_ok();
        let ns = nanoseconds(|| echo.send(1));
        section.measure(&format!("through_{levels}_ns"), json!(started.then_some(ns)));
        let line = format!("  a value in and the next one out, {levels:>2} levels: {ns:>6.1} ns");
        section.shown.push(line);
    }
    section
}

fn row(way: &str, caller: &str, waiter: &str) -> String {
    format!("  {way:<16}  {caller:<33}  {waiter}").trim_end().to_string()
}

/// K4, from the conversations that were the same with and without delegation.
pub fn all_passes_through(section: &Section) -> Verdict {
    let [ways, same, levels] = ["ways", "same", "levels"].map(|name| &section.measured[name]);
    let seen = format!("{same} of {ways} conversations go the same through {levels} levels");
    let delegated = *ways != 0 && *levels != 0;
    if ways == same && delegated { Verdict::Holds(seen) } else { Verdict::Fails(seen) }
}

/// What the caller gets and what the waiter notices.
fn hold(asks: &[Ask], levels: usize) -> (String, String) {
    let log = Log::default();
    let mut waiter = delegate(levels, waiter(log.clone()));
    let mut got = Vec::new();
    for ask in asks {
        got.push(match ask {
            Ask::Start => told(waiter.start()),
            Ask::Send(words) => told(waiter.send(words)),
            Ask::Throw(words) => told(waiter.throw(*words)),
            Ask::Close => match waiter.close() {
                Ok(_) => "closed".into(),
                Err(raised) => format!("raised: {raised}"),
            },
        });
    }
    (got.join(", "), log.take().join(", "))
}

fn told(step: Result<Step<&str, &str>, Raised>) -> String {
    match step {
        Ok(Step::Yielded(words)) => words.into(),
        Ok(Step::Returned(words)) => format!("returned: {words}"),
        Err(raised) => format!("raised: {raised}"),
    }
}

/// `inner`, behind `levels` generators that each run `return (yield from inner)`.
fn delegate<S: Default + 'static, Y: 'static, R: Default + 'static>(
    levels: usize,
    inner: Generator<S, Y, R>,
) -> Generator<S, Y, R> {
    if levels == 0 {
        return inner;
    }
    let inner = delegate(levels - 1, inner);
    Generator::new(move |yielder| yield_from(yielder, inner))
}

fn waiter(log: Log) -> Waiter {
    let note = move |what: &str| log.borrow_mut().push(what.into());
    Generator::new(move |yielder| {
        let mut says = "welcome";
        loop {
            says = match yielder.suspend(says) {
                Ok("coffee") => return Err("out of coffee".into()),
                Ok("the bill") => return Ok("thank you"),
                Ok("nothing") => "as you like",
                Ok(order) => {
                    note(order);
                    "certainly"
                }
                Err(raised) if raised.is::<GeneratorExit>() => {
                    note("closing time");
                    return Err(raised);
                }
                Err(raised) => {
                    note(&format!("{raised}!"));
                    "no harm done"
                }
            };
        }
    })
}

fn echo() -> Generator<i64, i64, ()> {
    Generator::new(|yielder| {
        let mut value = 0;
        loop {
            value = yielder.suspend(value)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_cannot_tell_how_many_are_in_between() {
        for (way, asks) in WAYS {
            let directly = hold(asks, 0);
            for levels in [1, 2, 20] {
                assert_eq!(directly, hold(asks, levels), "{way}");
            }
        }
    }

    #[test]
    fn the_verdict_follows_the_conversations() {
        let judge = |ways: usize, same: usize, levels: usize| {
            let mut section = Section::default();
            for (name, figure) in [("ways", ways), ("same", same), ("levels", levels)] {
                section.measure(name, json!(figure));
            }
            all_passes_through(&section)
        };
        assert!(matches!(judge(6, 6, 3), Verdict::Holds(_)));
        let Verdict::Fails(seen) = judge(6, 5, 3) else { panic!("one conversation differs") };
        assert_eq!(seen, "5 of 6 conversations go the same through 3 levels");
        assert!(matches!(judge(0, 0, 3), Verdict::Fails(_)));
        assert!(matches!(judge(6, 6, 0), Verdict::Fails(_)));
    }
}
