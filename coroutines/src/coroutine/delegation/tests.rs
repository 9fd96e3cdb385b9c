//! The rules in the order of the PEP's section "Proposal".

use std::cell::RefCell;
use std::fmt::{Debug, Display};
use std::rc::Rc;

use super::*;

type Log = Rc<RefCell<Vec<String>>>;
type Talk = Generator<&'static str, &'static str, &'static str>;

fn note(log: &Log, what: impl Into<String>) {
    log.borrow_mut().push(what.into());
}

/// Yields "first", then "again" for each value sent, and notes all it gets. "enough" makes it
/// return, "fail" makes it raise. It handles an error that is thrown in unless it says "fatal".
fn inner(log: &Log) -> Talk {
    let log = log.clone();
    Generator::new(move |yielder| {
        let mut value = "first";
        loop {
            value = match yielder.suspend(value) {
                Ok("enough") => return Ok("result"),
                Ok("fail") => return Err("inner failed".into()),
                Ok(sent) => {
                    note(&log, format!("inner got {sent}"));
                    "again"
                }
                Err(raised) if raised.is::<GeneratorExit>() => {
                    note(&log, "inner closed");
                    return Err(raised);
                }
                Err(raised) if raised.to_string() == "return" => return Ok("thrown result"),
                Err(raised) if raised.to_string() == "fatal" => return Err(raised),
                Err(raised) => {
                    note(&log, format!("inner handled {raised}"));
                    "handled"
                }
            };
        }
    })
}

/// Delegates, notes how that ends, and then yields the result.
fn delegating(log: &Log, inner: Talk) -> Talk {
    let log = log.clone();
    Generator::new(move |yielder| {
        match yield_from(yielder, inner) {
            Ok(result) => {
                note(&log, format!("resumed with {result}"));
                yielder.suspend(result)?;
            }
            Err(raised) => {
                note(&log, format!("outer saw {raised}"));
                return Err(raised);
            }
        }
        Ok("outer's own")
    })
}

fn both() -> (Log, Talk) {
    let log = Log::default();
    let outer = delegating(&log, inner(&log));
    (log, outer)
}

/// A step in words: what was yielded, returned or raised.
fn told<Y: Display, R: Debug>(step: Result<Step<Y, R>, Raised>) -> String {
    match step {
        Ok(Step::Yielded(value)) => value.to_string(),
        Ok(Step::Returned(value)) => format!("returned {value:?}"),
        Err(raised) => format!("raised {raised}"),
    }
}

fn logged(log: &Log) -> String {
    log.borrow().join(", ")
}

#[test]
fn values_that_the_iterator_yields_are_passed_directly_to_the_caller() {
    let numbers: Generator<(), u32, ()> = Generator::new(|yielder| {
        yielder.suspend(0)?;
        yield_from(
            yielder,
            Generator::new(|yielder| {
                yielder.suspend(1)?;
                yielder.suspend(2)
            }),
        )?;
        yielder.suspend(3)
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn values_sent_to_the_delegating_generator_are_passed_directly_to_the_iterator() {
    let (log, mut outer) = both();
    assert_eq!(told(outer.start()), "first");
    assert_eq!(told(outer.send("a")), "again");
    assert_eq!(told(outer.send("b")), "again");
    assert_eq!(logged(&log), "inner got a, inner got b");
}

#[test]
fn next_on_the_delegating_generator_is_next_on_the_iterator() {
    let mut outer: Generator<(), u32, ()> = Generator::new(|yielder| yield_each(yielder, [1, 2]));
    assert_eq!((outer.next(), outer.next(), outer.next()), (Some(1), Some(2), None));
}

#[test]
fn if_a_send_ends_the_iterator_the_delegating_generator_is_resumed() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    assert_eq!(told(outer.send("enough")), "result");
    assert_eq!(logged(&log), "resumed with result");
}

#[test]
fn if_a_send_raises_that_is_propagated_to_the_delegating_generator() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    assert_eq!(told(outer.send("fail")), "raised inner failed");
    assert_eq!(logged(&log), "outer saw inner failed");
}

#[test]
fn if_the_start_raises_that_is_propagated_to_the_delegating_generator() {
    let log = Log::default();
    let mut outer = delegating(&log, Generator::new(|_| Err("not even started".into())));
    assert_eq!(told(outer.start()), "raised not even started");
    assert_eq!(logged(&log), "outer saw not even started");
}

#[test]
fn errors_thrown_into_the_delegating_generator_are_passed_to_the_iterators_throw() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    assert_eq!(told(outer.throw("a slip")), "handled");
    assert_eq!(told(outer.send("and on")), "again");
    assert_eq!(logged(&log), "inner handled a slip, inner got and on");
}

#[test]
fn if_a_throw_ends_the_iterator_the_delegating_generator_is_resumed() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    assert_eq!(told(outer.throw("return")), "thrown result");
    assert_eq!(logged(&log), "resumed with thrown result");
}

#[test]
fn if_a_throw_raises_that_is_propagated_to_the_delegating_generator() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    assert_eq!(told(outer.throw("fatal")), "raised fatal");
    assert_eq!(logged(&log), "outer saw fatal");
}

#[test]
fn an_iterator_without_throw_raises_in_the_delegating_generator() {
    let log = Log::default();
    let inner = log.clone();
    let mut outer: Generator<(), u32, ()> = Generator::new(move |yielder| {
        if let Err(raised) = yield_each(yielder, 1..) {
            note(&inner, format!("outer saw {raised}"));
        }
        yielder.suspend(0)
    });
    assert_eq!(outer.next(), Some(1));
    assert_eq!(told(outer.throw("stop counting")), "0");
    assert_eq!(logged(&log), "outer saw stop counting");
}

#[test]
fn if_the_delegating_generator_is_closed_close_is_called_on_the_iterator_first() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    outer.close().expect("both pass GeneratorExit on");
    assert_eq!(logged(&log), "inner closed, outer saw GeneratorExit");
}

#[test]
fn a_generator_exit_thrown_in_closes_the_iterator_too() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    assert_eq!(told(outer.throw(GeneratorExit)), "raised GeneratorExit");
    assert_eq!(logged(&log), "inner closed, outer saw GeneratorExit");
}

#[test]
fn if_closing_the_iterator_raises_that_is_propagated_to_the_delegating_generator() {
    let log = Log::default();
    let inner: Talk = Generator::new(|yielder| {
        let _exit = yielder.suspend("first");
        Err("cannot close".into())
    });
    let mut outer = delegating(&log, inner);
    outer.start().expect("it yields");
    let error = outer.close().expect_err("the inner one refuses");
    assert_eq!(error.to_string(), "cannot close");
    assert_eq!(logged(&log), "outer saw cannot close");
}

#[test]
fn if_the_iterator_returns_when_closed_generator_exit_is_still_raised() {
    let log = Log::default();
    let inner: Talk = Generator::new(|yielder| {
        let _exit = yielder.suspend("first");
        Ok("quietly")
    });
    let mut outer = delegating(&log, inner);
    outer.start().expect("it yields");
    outer.close().expect("GeneratorExit is passed on");
    assert_eq!(logged(&log), "outer saw GeneratorExit");
}

#[test]
fn an_iterator_that_ignores_its_close_is_an_error_in_the_delegating_generator() {
    let log = Log::default();
    let inner: Talk = Generator::new(|yielder| {
        let _exit = yielder.suspend("first");
        yielder.suspend("I stay")
    });
    let mut outer = delegating(&log, inner);
    outer.start().expect("it yields");
    let error = outer.close().expect_err("the inner one ignored it");
    assert_eq!(error.to_string(), "generator ignored GeneratorExit");
    assert_eq!(logged(&log), "outer saw generator ignored GeneratorExit");
}

#[test]
fn the_value_of_yield_from_is_the_iterators_return_value() {
    let mut outer: Generator<(), u32, String> = Generator::new(|yielder| {
        let sum = yield_from(
            yielder,
            Generator::new(|yielder| {
                let mut sum = 0;
                for n in 1..=4 {
                    yielder.suspend(n)?;
                    sum += n;
                }
                Ok(sum)
            }),
        )?;
        Ok(format!("the sum was {sum}"))
    });
    assert_eq!(outer.by_ref().count(), 4);
    assert_eq!(outer.returned().as_deref(), Some("the sum was 10"));
}

#[test]
fn return_ends_the_generator_with_that_value() {
    let (_, mut outer) = both();
    outer.start().expect("it yields");
    outer.send("enough").expect("it yields the result");
    assert_eq!(told(outer.send("anything")), "returned \"outer's own\"");
    let after = outer.send("more").expect_err("it has ended");
    assert!(after.is::<StopIteration>());
}

#[test]
fn an_iterator_that_never_yields_does_not_suspend_the_delegating_generator() {
    let mut outer: Generator<(), u32, u32> = Generator::new(|yielder| {
        yield_each(yielder, [])?;
        yield_from(yielder, Generator::new(|_| Ok(7)))
    });
    assert_eq!(outer.next(), None);
    assert_eq!(outer.returned(), Some(7));
}

#[test]
fn a_generator_that_has_started_goes_on_where_it_was() {
    let mut outer: Generator<(), u32, ()> = Generator::new(|yielder| {
        let mut inner: Generator<(), u32, ()> =
            Generator::new(|yielder| yield_each(yielder, 1..=3));
        inner.next();
        yield_each(yielder, inner)
    });
    assert_eq!(outer.by_ref().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn generators_may_delegate_a_hundred_deep() {
    fn nested(depth: u32) -> Generator<u32, u32, u32> {
        Generator::new(move |yielder| match depth {
            0 => yielder.suspend(0),
            _ => Ok(yield_from(yielder, nested(depth - 1))? + 1),
        })
    }
    let mut outer = nested(100);
    assert_eq!(told(outer.start()), "0");
    assert_eq!(told(outer.send(5)), "returned 105");
}

#[test]
fn dropping_the_delegating_generator_unwinds_the_inner_one_first() {
    struct Finally(Log, &'static str);
    impl Drop for Finally {
        fn drop(&mut self) {
            note(&self.0, self.1);
        }
    }
    let log = Log::default();
    let (of_outer, of_inner) = (log.clone(), log.clone());
    let mut outer: Generator<(), u32, ()> = Generator::new(move |yielder| {
        let _finally = Finally(of_outer, "outer");
        yield_from(
            yielder,
            Generator::new(move |yielder| {
                let _finally = Finally(of_inner, "inner");
                yielder.suspend(1)
            }),
        )
    });
    outer.next();
    drop(outer);
    assert_eq!(logged(&log), "inner, outer");
}

#[test]
fn a_generator_that_has_started_is_delegated_to_from_where_it_waits() {
    let (log, mut outer) = both();
    let mut started = inner(&log);
    started.start().expect("it yields");
    assert_eq!(told(started.send("a")), "again");
    let mut delegates = delegating(&log, started);
    // Its yield gets the default, in place of None.
    assert_eq!(told(delegates.start()), "again");
    assert_eq!(told(delegates.send("enough")), "result");
    assert_eq!(logged(&log), "inner got a, inner got , resumed with result");
    outer.close().expect("it has not started");
}

#[test]
fn a_generator_that_has_ended_yields_nothing_and_returns_the_default() {
    let mut outer: Generator<(), u32, u32> = Generator::new(|yielder| {
        let mut inner: Generator<(), u32, u32> = Generator::new(|_| Ok(7));
        inner.next();
        let value = yield_from(yielder, inner)?;
        yielder.suspend(value)?;
        let mut closed: Generator<(), u32, u32> = Generator::new(|_| Ok(7));
        closed.close()?;
        yield_from(yielder, closed)
    });
    assert_eq!(outer.by_ref().collect::<Vec<_>>(), [0]);
    assert_eq!(outer.returned(), Some(0));
}

#[test]
fn stop_iteration_that_is_thrown_in_is_an_error_of_the_iterator() {
    let (log, mut outer) = both();
    outer.start().expect("it yields");
    outer.close().expect("it passes GeneratorExit on");
    let mut outer: Generator<(), u32, ()> =
        Generator::new(|yielder| yield_from(yielder, Generator::new(|yielder| yielder.suspend(1))));
    outer.next();
    assert_eq!(told(outer.throw(StopIteration)), "raised generator raised StopIteration");
    assert!(logged(&log).starts_with("inner closed"));
}
