//! generators: a conversation with each kind, printed line by line.
//! The caller asks; the body runs to its next yield and stops there.
//! Run it: cargo run -p coroutines -- generators

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use corosensei::Coroutine;
use serde_json::json;

use crate::coroutine::generators::{Generator, Raised, Step, Yielder, stackless};

/// Prints a line of the conversation: the call as it is written here, and its result.
macro_rules! say {
    ($section:ident, $call:expr) => {
        let came = $call;
        $section.answer.push(format!("  {:<52}{came:?}", stringify!($call)));
    };
}

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();

    let mut count = count_to(2);
    say!(section, count.next());
    say!(section, count.next());
    say!(section, count.next());
    say!(section, count.returned());

    let mut average = averages();
    say!(section, average.start());
    say!(section, average.send(10));
    say!(section, average.send(20));
    say!(section, average.throw("start anew"));
    say!(section, average.close());

    let made = Rc::new(Cell::new(0));
    let asked = Cell::new(0);
    let count = |_: &u32| asked.set(asked.get() + 1);
    let mut even_squares = squares(numbers(&made)).inspect(count).filter(|n| n % 2 == 0);
    say!(section, even_squares.by_ref().take(2).collect::<Vec<_>>());
    say!(section, made.get());
    drop(even_squares); // an early stop: both stacks are unwound

    let walk = Generator::new(|yielder| in_order(yielder, 1, 8));
    say!(section, walk.collect::<Vec<_>>());

    let mut without_stack = stackless_averages();
    say!(section, without_stack.start());
    say!(section, without_stack.send(10));
    say!(section, without_stack.send(20));

    section.measure("asked", json!(asked.get()));
    section.measure("made", json!(made.get()));
    section.measure("alike", json!(alike()));
    compare(&mut section);
    section
}

/// K3, from the numbers made and requested, and from whether both kinds say the same.
pub fn stop_in_the_middle(section: &Section) -> Verdict {
    let (asked, made) = (&section.measured["asked"], &section.measured["made"]);
    let alike = &section.measured["alike"];
    let seen =
        format!("{asked} numbers asked for, {made} made; with and without a stack alike: {alike}");
    let on_demand = asked == made && *made != 0;
    if on_demand && alike == true { Verdict::Holds(seen) } else { Verdict::Fails(seen) }
}

fn count_to(n: u32) -> Generator<(), u32, &'static str> {
    Generator::new(move |yielder| {
        for i in 1..=n {
            yielder.suspend(i)?;
        }
        Ok("counted")
    })
}

/// Yields the average of all numbers sent; "start anew" can be thrown in.
fn averages() -> Generator<i64, i64, ()> {
    Generator::new(|yielder| {
        let (mut sum, mut n) = (0, 0);
        loop {
            let average = if n == 0 { 0 } else { sum / n };
            match yielder.suspend(average) {
                Ok(value) => (sum, n) = (sum + value, n + 1),
                Err(raised) if raised.to_string() == "start anew" => (sum, n) = (0, 0),
                Err(raised) => return Err(raised),
            }
        }
    })
}

/// The same without a stack: its state is in the fields of the `async` block.
fn stackless_averages() -> stackless::Generator<i64, i64, ()> {
    stackless::Generator::new(|yielder| async move {
        let (mut sum, mut n) = (0, 0);
        loop {
            let average = if n == 0 { 0 } else { sum / n };
            sum += yielder.suspend(average).await;
            n += 1;
        }
    })
}

fn numbers(made: &Rc<Cell<u32>>) -> Generator<(), u32, ()> {
    let made = made.clone();
    Generator::new(move |yielder| {
        for n in 1.. {
            made.set(n);
            yielder.suspend(n)?;
        }
        Ok(())
    })
}

fn squares(source: Generator<(), u32, ()>) -> Generator<(), u32, ()> {
    Generator::new(move |yielder| {
        for n in source {
            yielder.suspend(n * n)?;
        }
        Ok(())
    })
}

/// Yields from the depth of a recursion: only a generator with a stack can.
fn in_order(yielder: &Yielder<(), u32>, from: u32, to: u32) -> Result<(), Raised> {
    if from == to {
        return Ok(());
    }
    let middle = from.midpoint(to);
    in_order(yielder, from, middle)?;
    yielder.suspend(middle)?;
    in_order(yielder, middle + 1, to)
}

type Said = Result<Step<i64, ()>, Raised>;

/// Whether both kinds give the same answers to the same calls.
fn alike() -> bool {
    let (mut with, mut without) = (averages(), stackless_averages());
    let mut alike = same(&with.start(), &without.start());
    for value in [10, 20, 60, -4] {
        alike &= same(&with.send(value), &without.send(value));
    }
    alike
}

/// Whether both yield the same.
fn same(with: &Said, without: &Said) -> bool {
    matches!((with, without), (Ok(with), Ok(without)) if with == without)
}

fn compare(section: &mut Section) {
    let mut bare: Coroutine<i64, i64, ()> = Coroutine::new(|yielder, mut value| {
        loop {
            value = yielder.suspend(value);
        }
    });
    let mut with: Generator<i64, i64, ()> = Generator::new(|yielder| {
        let mut value = 0;
        loop {
            value = yielder.suspend(value)?;
        }
    });
    with.start().expect("it yields");
    let mut without: stackless::Generator<i64, i64, ()> =
        stackless::Generator::new(|yielder| async move {
            let mut value = 0;
            loop {
                value = yielder.suspend(value).await;
            }
        });
    without.start().expect("it yields");
    let bare = nanoseconds(|| bare.resume(1));
    let with = nanoseconds(|| with.send(1));
    let without = nanoseconds(|| without.send(1));
    section.measure("bare_ns", json!(bare));
    section.measure("stackful_ns", json!(with));
    section.measure("stackless_ns", json!(without));
    let factor = with / bare;
    section.shown = vec![
        format!("  a value in and the next one out: corosensei {bare:>5.1} ns"),
        format!(
            "                                   Generator  {with:>5.1} ns, {factor:.1} × as long"
        ),
        format!(
            "                                   stackless  {without:>5.1} ns; its callers are async"
        ),
    ];
}

/// How long one turn takes: the median of nine times ten thousand.
pub fn nanoseconds<T>(mut turn: impl FnMut() -> T) -> f64 {
    const TURNS: u32 = 10_000;
    let mut times = [0.0; 9];
    for time in &mut times {
        let start = Instant::now();
        for _ in 0..TURNS {
            black_box(turn());
        }
        *time = start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_figures() {
        for (asked, made, alike, word) in [
            (4, 4, true, "holds"),
            (3, 4, true, "does not hold"),
            (4, 5, true, "does not hold"),
            (0, 0, true, "does not hold"),
            (4, 4, false, "does not hold"),
        ] {
            let mut section = Section::default();
            section.measure("asked", json!(asked));
            section.measure("made", json!(made));
            section.measure("alike", json!(alike));
            let verdict = stop_in_the_middle(&section);
            assert_eq!(verdict.word(), word, "{verdict:?}");
        }
    }
}
