//! One check for each exercise, for the broken file and for its solution.

use std::cell::Cell;
use std::mem;
use std::rc::Rc;

use common::exercise::{LIMIT, Sentence, should, within};

use super::{busy_polling, solutions, swallowed_close, yield_between};
use crate::coroutine::generators::{Generator, Step};
use crate::coroutine::scheduler::{self, yield_now};
use crate::coroutine::sync::Event;

#[test]
#[ignore = "fix coroutines/src/exercises/yield_between.rs"]
fn yield_between() -> Result<(), Sentence> {
    check_yield_between(yield_between::add)
}

#[test]
fn solution_of_yield_between() -> Result<(), Sentence> {
    check_yield_between(solutions::yield_between::add)
}

#[test]
#[ignore = "fix coroutines/src/exercises/swallowed_close.rs"]
fn swallowed_close() -> Result<(), Sentence> {
    check_swallowed_close(swallowed_close::count)
}

#[test]
fn solution_of_swallowed_close() -> Result<(), Sentence> {
    check_swallowed_close(solutions::swallowed_close::count)
}

#[test]
#[ignore = "fix coroutines/src/exercises/busy_polling.rs"]
fn busy_polling() -> Result<(), Sentence> {
    check_busy_polling(busy_polling::wait_for)
}

#[test]
fn solution_of_busy_polling() -> Result<(), Sentence> {
    check_busy_polling(solutions::busy_polling::wait_for)
}

fn check_yield_between(add: fn(&Cell<i64>, i64)) -> Result<(), Sentence> {
    let added = within(LIMIT, "two additions should both end", move || {
        scheduler::run(|| {
            let balance = Rc::new(Cell::new(0));
            let begun = Rc::new(Cell::new(0));
            let tasks = [1, 10].map(|amount| {
                let (balance, begun) = (balance.clone(), begun.clone());
                scheduler::spawn(move || {
                    begun.set(begun.get() + 1);
                    add(&balance, amount);
                    begun.get()
                })
            });
            let [first, _] = tasks.map(scheduler::Task::join);
            (balance.get(), first.expect("an addition does not panic"))
        })
    });
    let (balance, begun) = added?;
    let sentence = format!("two tasks add 1 and 10 to 0: it should be 11, not {balance}");
    should(balance == 11, sentence)?;
    should(begun == 2, "the other task should still run once in between")
}

fn check_swallowed_close(count: fn() -> Generator<(), u32, ()>) -> Result<(), Sentence> {
    let never = "a generator should yield, and end when it is closed";
    let (numbers, again, closed) = within(LIMIT, never, move || {
        let mut generator = count();
        let numbers: Vec<u32> = generator.by_ref().take(3).collect();
        let again = match generator.throw("start again") {
            Ok(Step::Yielded(n)) => Some(n),
            _ => None,
        };
        let closed = generator.close().map_err(|raised| raised.to_string());
        if closed.is_err() {
            mem::forget(generator); // it would say the same once more when it is dropped
        }
        (numbers, again, closed)
    })?;
    should(numbers == [1, 2, 3], "it should still yield 1, 2, 3")?;
    should(again == Some(1), "an error that is thrown in should make it start again at 1")?;
    let sentence = |raised| format!("a generator that is closed should end; this one: {raised}");
    closed.map(drop).map_err(|raised| sentence(raised).into())
}

type WaitFor = fn(&dyn Fn() -> Option<u32>, &Event) -> u32;

fn check_busy_polling(wait_for: WaitFor) -> Result<(), Sentence> {
    let (page, looks) =
        within(LIMIT, "the task that waits should go on when the page is there", move || {
            scheduler::run(|| {
                let page = Rc::new(Cell::new(None));
                let looks = Rc::new(Cell::new(0));
                let arrived = Rc::new(Event::new());
                let task = scheduler::spawn({
                    let (page, looks, arrived) = (page.clone(), looks.clone(), arrived.clone());
                    let look = move || {
                        looks.set(looks.get() + 1);
                        page.get()
                    };
                    move || wait_for(&look, &arrived)
                });
                for _ in 0..100 {
                    yield_now();
                }
                page.set(Some(7));
                arrived.set();
                (task.join().map_err(|error| error.to_string()), looks.get())
            })
        })?;
    should(page == Ok(7), format!("it should return the page, 7, not {page:?}"))?;
    let sentence = format!(
        "another task takes 100 turns and brings the page: it should be looked for before and \
         after that, not {looks} times"
    );
    should(looks <= 2, sentence)
}
