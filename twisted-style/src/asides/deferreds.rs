//! The aside `deferreds`: a value and an error in a chain, then the rules one by one, then very
//! long chains.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use serde_json::json;

use crate::twisted::clock::Clock;
use crate::twisted::defer::{Deferred, Resolver, fail, maybe_deferred, succeed};
use crate::twisted::failure::{Failure, observe_unhandled};
use crate::twisted::gather::{deferred_list, gather_results, race};
use crate::twisted::locks::{DeferredLock, DeferredQueue, DeferredSemaphore};

/// Callbacks in the longest chain.
const LINKS: u32 = 1_000_000;

pub fn aside(_: &Flags) -> Section {
    let mut section = Section::default();
    let seen = Seen::default();
    let observer = seen.clone();
    let _observing = observe_unhandled(move |failure| {
        observer.note(format!("Unhandled error in Deferred: {failure}"));
    });
    section.shown.push(format!(
        "{:<8}{:<14}{:<14}{:<14}{}",
        "", "add_callback", "add_callback", "add_errback", "add_both"
    ));
    section.shown.push(format!("{:<8}{:<14}{:<14}{:<14}{}", "", "parse", "halve", "mend", "say"));
    let mut said = Vec::new();
    for word in ["8", "7", "x"] {
        let (stations, end) = travel(word);
        let [a, b, c, d] = stations;
        let word = format!("\"{word}\"");
        section.shown.push(format!("  {word:<6}{a:<14}{b:<14}{c:<14}{d}"));
        section.answer.push(format!("{word} {:<28} {end}", "down the chain"));
        said.push(end);
    }
    section.shown.push("        · skipped    ✗ an error, which goes to the next errback".into());
    section.measure("ends", said.into());
    for (name, rule) in RULES {
        section.answer.push(format!("{name:<32} {}", rule(&seen)));
    }
    far(&mut section);
    section
}

/// W3: values go to the callbacks, errors to the errbacks, and an errback may return a value.
pub fn chains(section: &Section) -> Verdict {
    let ends = section.measured.get("ends").cloned().unwrap_or_default();
    let grew = section.measured.get("stack_grew_by").and_then(serde_json::Value::as_u64);
    let links = section.measured.get("links").and_then(serde_json::Value::as_u64);
    let number = |figure: Option<u64>| figure.map_or("no".to_string(), |n| n.to_string());
    let said = format!(
        "a value and two errors went down a chain, which ended with {ends}; \
         {} callbacks ran in another, and the stack grew by {} bytes",
        number(links),
        number(grew)
    );
    let right = ends == json!(["says 4", "says 0", "says 0"]);
    if right && links == Some(LINKS.into()) && grew == Some(0) {
        Verdict::Holds(said)
    } else {
        Verdict::Fails(said)
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<String>>>);

impl Seen {
    fn note(&self, words: impl Display) {
        self.0.borrow_mut().push(words.to_string());
    }

    /// Returns all of it, and clears it.
    fn words(&self) -> String {
        self.0.take().join(", ")
    }
}

fn error(words: &str) -> Failure {
    io::Error::other(words.to_string()).into()
}

/// Sends `word` down a chain of four. Returns what each callback did with it, and the result.
fn travel(word: &'static str) -> ([String; 4], String) {
    let stations = Rc::new(RefCell::new(["·"; 4].map(str::to_string)));
    let at = |station: usize| {
        let stations = stations.clone();
        move |result: &Result<i32, Failure>| {
            stations.borrow_mut()[station] = match result {
                Ok(value) => value.to_string(),
                Err(failure) => format!("✗ {failure}"),
            };
        }
    };
    let (parsed, halved, mended, said) = (at(0), at(1), at(2), at(3));

    let (resolver, deferred) = Deferred::<&str>::new();
    let chain = deferred
        .add_callback(move |word| {
            let number = word.parse().map_err(|_| error("no number"));
            parsed(&number);
            number
        })
        .add_callback(move |number: i32| {
            let half = if number % 2 == 0 { Ok(number / 2) } else { Err(error("odd")) };
            halved(&half);
            half
        })
        .add_errback(move |_| {
            let instead = Ok(0);
            mended(&instead);
            instead
        })
        .add_both(move |result| {
            said(&result);
            Ok(format!("says {}", result?))
        });
    resolver.callback(word);

    (stations.take(), result_of(chain))
}

/// The result of a Deferred, or that it has none yet.
fn result_of<T: Display>(deferred: Deferred<T>) -> String {
    let result = Rc::new(RefCell::new("waits".to_string()));
    let came = result.clone();
    let looked = deferred.add_both(move |result| {
        *came.borrow_mut() = match result {
            Ok(value) => value.to_string(),
            Err(failure) => format!("✗ {failure}"),
        };
    });
    drop(looked);
    result.take()
}

type Rule = (&'static str, fn(&Seen) -> String);

/// Each rule separately.
const RULES: [Rule; 11] = [
    ("a callback returns a Deferred", paused),
    ("maybe_deferred", maybe),
    ("cancel, from the chain's end", cancelled),
    ("add_timeout", timed_out),
    ("deferred_list", list),
    ("gather_results, fired 3 2 1", gathered),
    ("race", raced),
    ("DeferredSemaphore(2)", semaphore),
    ("DeferredLock, b has cancelled", lock),
    ("DeferredQueue", queue),
    ("an error without an errback", unhandled),
];

fn paused(seen: &Seen) -> String {
    let (outer, deferred) = Deferred::new();
    let (inner, waited_for) = Deferred::new();
    let after = seen.clone();
    let chain = deferred
        .add_callback(move |()| waited_for)
        .add_callback(move |value: i32| after.note(format!("then {value}")));
    outer.callback(());
    seen.note("the chain pauses");
    inner.callback(5);
    drop(chain);
    seen.words()
}

fn maybe(_: &Seen) -> String {
    result_of(maybe_deferred(|| "x".parse::<i32>().map_err(Failure::from)))
}

fn cancelled(seen: &Seen) -> String {
    let (resolver, deferred) = Deferred::<i32>::new();
    let canceller = seen.clone();
    let deferred = deferred.with_canceller(move || canceller.note("canceller called"));
    let chain = deferred.add_callback(|n| Ok(n + 1));
    chain.cancel();
    resolver.callback(1); // too late
    format!("{}, {}", seen.words(), result_of(chain))
}

fn timed_out(_: &Seen) -> String {
    let clock = Clock::new();
    let (resolver, deferred) = Deferred::<i32>::new();
    let deferred = deferred.add_timeout(Duration::from_secs(3), &clock);
    clock.advance(Duration::from_secs(3));
    resolver.callback(1); // too late
    result_of(deferred)
}

fn three() -> (Vec<Resolver<i32>>, Vec<Deferred<i32>>) {
    (0..3).map(|_| Deferred::new()).unzip()
}

fn list(_: &Seen) -> String {
    let (mut resolvers, deferreds) = three();
    let list = deferred_list(deferreds).add_callback(|results| {
        let results = results.into_iter();
        let words = results.map(|r| r.map_or_else(|f| format!("✗ {f}"), |n| n.to_string()));
        Ok(words.collect::<Vec<_>>().join(", "))
    });
    resolvers.remove(2).callback(3);
    resolvers.remove(0).callback(1);
    resolvers.remove(0).errback(error("failed"));
    result_of(list)
}

fn gathered(_: &Seen) -> String {
    let (resolvers, deferreds) = three();
    let all = gather_results(deferreds).add_callback(|values| Ok(format!("{values:?}")));
    for (resolver, n) in resolvers.into_iter().zip([1, 2, 3]).rev() {
        resolver.callback(n);
    }
    result_of(all)
}

fn raced(seen: &Seen) -> String {
    let (mut resolvers, deferreds) = three();
    let deferreds = deferreds.into_iter().map(|runner| {
        let loser = seen.clone();
        runner.with_canceller(move || loser.note("one is cancelled"))
    });
    let winner = race(deferreds.collect()).add_callback(|(n, _)| Ok(format!("{n} wins")));
    resolvers.remove(1).callback(0);
    format!("{}, {}", result_of(winner), seen.words())
}

fn semaphore(_: &Seen) -> String {
    let semaphore = DeferredSemaphore::new(2);
    let inside = Rc::new(Cell::new((0_usize, 0_usize))); // now, and at most
    let mut ends = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..6 {
        let (end, work) = Deferred::<()>::new();
        ends.push(end);
        let inside = inside.clone();
        runs.push(semaphore.run(move || {
            let (now, most) = inside.get();
            inside.set((now + 1, most.max(now + 1)));
            work.add_callback(move |()| inside.set((inside.get().0 - 1, inside.get().1)))
        }));
    }
    for end in ends {
        end.callback(());
    }
    let runs = result_of(gather_results(runs).add_callback(|runs| Ok(runs.len())));
    format!("{runs} runs, {} at once", inside.get().1)
}

fn lock(seen: &Seen) -> String {
    let lock = DeferredLock::new();
    let holders = ["a", "b", "c"].map(|name| {
        let seen = seen.clone();
        let acquired = lock.acquire();
        acquired.add_callbacks(move |()| seen.note(format!("{name} has it")), |_| ())
    });
    holders[1].cancel();
    lock.release();
    seen.words()
}

fn queue(_: &Seen) -> String {
    let queue = DeferredQueue::bounded(1, 1);
    let early = queue.get();
    let puts = [1, 2, 3].map(|n| queue.put(n));
    let late = queue.get();
    let too_many = puts.into_iter().find_map(Result::err);
    let too_many = too_many.map_or_else(String::new, |error| format!(", then {error}"));
    format!("{}, {}{too_many}", result_of(early), result_of(late))
}

fn unhandled(seen: &Seen) -> String {
    drop(fail::<i32>(error("lost")).add_callback(|n| Ok(n + 1)));
    seen.words()
}

/// A chain, nested Deferreds, a ring: they work at any length, and what they cost.
fn far(section: &mut Section) {
    const DEEP: u32 = 100_000;

    let (low, high) = (Rc::new(Cell::new(usize::MAX)), Rc::new(Cell::new(0)));
    let ran = Rc::new(Cell::new(0_u64));
    let (resolver, mut chain) = Deferred::new();
    for _ in 0..LINKS {
        let (low, high, ran) = (low.clone(), high.clone(), ran.clone());
        chain = chain.add_callback(move |n: u32| {
            let here = std::ptr::from_ref(&n).addr();
            ran.set(ran.get() + 1);
            low.set(low.get().min(here));
            high.set(high.get().max(here));
            Ok(n + 1)
        });
    }
    let start = Instant::now();
    resolver.callback(0);
    let a_callback = start.elapsed() / LINKS;
    let grew = high.get().saturating_sub(low.get());
    section.measure("links", ran.get().into());
    section.measure("stack_grew_by", grew.into());
    section.measure("callback_ns", (a_callback.as_nanos() as u64).into());
    section.answer.push(format!("{:<32} {}", "a chain of 1 000 000 callbacks", result_of(chain)));

    let (resolver, mut tower) = Deferred::new();
    for _ in 0..DEEP {
        let below = tower;
        tower = succeed(()).add_callback(move |()| below);
    }
    resolver.callback(DEEP);
    section.answer.push(format!("{:<32} {}", "Deferreds in 100 000 Deferreds", result_of(tower)));

    let queues: Vec<_> = (0..DEEP).map(|_| DeferredQueue::new()).collect();
    let home = Rc::new(Cell::new(0));
    let mut stations = Vec::new();
    for (n, queue) in queues.iter().enumerate() {
        let (next, home) = (queues.get(n + 1).cloned(), home.clone());
        stations.push(queue.get().add_callback(move |token: u32| {
            match next {
                Some(next) => next.put(token + 1)?,
                None => home.set(token),
            }
            Ok(())
        }));
    }
    let start = Instant::now();
    let begun = queues[0].put(1);
    let a_queue = start.elapsed() / DEEP;
    section.measure("queue_ns", (a_queue.as_nanos() as u64).into());
    let came = if begun.is_ok() { home.get() } else { 0 };
    section.answer.push(format!("{:<32} {came}", "a ring of 100 000 DeferredQueues"));

    let (a_callback, a_queue) = (a_callback.as_nanos(), a_queue.as_nanos());
    section
        .shown
        .push(format!("  a callback {a_callback} ns, a queue {a_queue} ns; after 1 000 000"));
    section.shown.push(format!("  callbacks the stack had grown by {grew} bytes"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_figures() {
        let ends = ["says 4", "says 0", "says 0"];
        for (ends, links, grew, word) in [
            (ends, LINKS, 0, "holds"),
            (["says 8", "says 0", "says 0"], LINKS, 0, "does not hold"),
            (["says 4", "✗ odd", "says 0"], LINKS, 0, "does not hold"),
            (["says 4", "says 0", "waits"], LINKS, 0, "does not hold"),
            (ends, LINKS - 1, 0, "does not hold"),
            (ends, LINKS, 96, "does not hold"),
        ] {
            let mut section = Section::default();
            section.measure("ends", json!(ends));
            section.measure("links", json!(links));
            section.measure("stack_grew_by", json!(grew));
            let verdict = chains(&section);
            assert_eq!(verdict.word(), word, "{verdict:?}");
        }
        assert!(matches!(chains(&Section::default()), Verdict::Fails(_)));
    }
}
