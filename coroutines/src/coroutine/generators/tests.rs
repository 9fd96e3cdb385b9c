//! What generators.rs promises, one test per promise.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

mod ends;

type Log = Rc<RefCell<Vec<&'static str>>>;

struct Finally(Log, &'static str);

impl Drop for Finally {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

fn count_to(n: u32) -> Generator<(), u32, &'static str> {
    Generator::new(move |yielder| {
        for i in 1..=n {
            yielder.suspend(i)?;
        }
        Ok("counted")
    })
}

/// Yields the average of all numbers sent; an error thrown in starts anew.
fn averages() -> Generator<i32, i32, ()> {
    Generator::new(|yielder| {
        let (mut sum, mut n) = (0, 0);
        let mut average = 0;
        loop {
            match yielder.suspend(average) {
                Ok(value) => (sum, n) = (sum + value, n + 1),
                Err(raised) if raised.is::<GeneratorExit>() => return Err(raised),
                Err(_) => (sum, n) = (0, 0),
            }
            average = if n == 0 { 0 } else { sum / n };
        }
    })
}

fn yielded<Y, R>(step: Result<Step<Y, R>, Raised>) -> Y {
    match step {
        Ok(Step::Yielded(value)) => value,
        Ok(Step::Returned(_)) => panic!("it returned"),
        Err(raised) => panic!("it raised: {raised}"),
    }
}

fn raised<Y, R>(step: Result<Step<Y, R>, Raised>) -> String {
    step.err().expect("it raises").to_string()
}

/// A step that can be compared.
fn told<Y, R>(step: Result<Step<Y, R>, Raised>) -> Result<Step<Y, R>, String> {
    step.map_err(|raised| raised.to_string())
}

#[test]
fn next_runs_to_the_next_yield_and_no_further() {
    let log = Log::default();
    let inner = log.clone();
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        inner.borrow_mut().push("started");
        yielder.suspend(1)?;
        inner.borrow_mut().push("went on");
        Ok(())
    });
    assert!(log.borrow().is_empty());
    assert_eq!(generator.next(), Some(1));
    assert_eq!(*log.borrow(), ["started"]);
    assert_eq!(generator.next(), None);
    assert_eq!(*log.borrow(), ["started", "went on"]);
}

#[test]
fn a_for_loop_ends_and_the_return_value_is_there_once() {
    let mut generator = count_to(3);
    assert_eq!(generator.by_ref().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(generator.next(), None);
    assert_eq!(generator.returned(), Some("counted"));
    assert_eq!(generator.returned(), None);
}

#[test]
fn send_is_the_value_of_the_yield() {
    let mut averages = averages();
    averages.start().expect("it yields");
    let seen = [10, 20, 60].map(|value| yielded(averages.send(value)));
    assert_eq!(seen, [10, 15, 30]);
}

#[test]
fn send_needs_a_yield_that_waits() {
    let mut averages = averages();
    let refused = raised(averages.send(1));
    assert_eq!(refused, "can't send a value to a just-started generator");
    averages.start().expect("refusing did not start it");
    assert_eq!(raised(averages.start()), "the generator has started before");
    averages.close().expect("it passes GeneratorExit on");
    assert_eq!(raised(averages.send(1)), "StopIteration");
}

#[test]
fn throw_raises_at_the_yield_and_may_be_handled_there() {
    let mut averages = averages();
    averages.start().expect("it yields");
    assert_eq!(yielded(averages.send(8)), 8);
    assert_eq!(yielded(averages.throw("start anew")), 0);
    assert_eq!(yielded(averages.send(3)), 3);
}

#[test]
fn throw_that_is_not_handled_comes_back_and_ends_it() {
    let mut generator = count_to(3);
    generator.next();
    assert_eq!(raised(generator.throw("no more")), "no more");
    assert_eq!(generator.next(), None);
    assert_eq!(generator.returned(), None);
    assert_eq!(raised(generator.throw("again")), "again");
}

#[test]
fn throw_before_the_start_ends_it_without_running_it() {
    let log = Log::default();
    let owned = Finally(log.clone(), "dropped");
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _owned = owned;
        yielder.suspend(1)?;
        Ok(())
    });
    assert_eq!(raised(generator.throw("too early")), "too early");
    assert_eq!(*log.borrow(), ["dropped"]);
    assert_eq!(generator.next(), None);
}

#[test]
fn close_runs_the_cleanup_after_the_yield() {
    let log = Log::default();
    let inner = log.clone();
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _finally = Finally(inner.clone(), "finally");
        yielder.suspend(1)?;
        inner.borrow_mut().push("never");
        Ok(())
    });
    generator.next();
    generator.close().expect("it passes GeneratorExit on");
    assert_eq!(*log.borrow(), ["finally"]);
    generator.close().expect("closing twice is closing once");
    assert_eq!(generator.next(), None);
}

#[test]
fn close_lets_a_body_return_and_reports_one_that_yields_or_raises() {
    let at_exit = |then: fn(&Yielder<(), u8>) -> Result<(), Raised>| {
        let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
            let _exit = yielder.suspend(1);
            then(yielder)
        });
        generator.next();
        generator.close().map_err(|raised| raised.to_string())
    };
    assert_eq!(at_exit(|_| Ok(())), Ok(Some(())));
    assert_eq!(at_exit(|_| Err("disk full".into())), Err("disk full".to_string()));
    assert_eq!(
        at_exit(|yielder| yielder.suspend(2)),
        Err("generator ignored GeneratorExit".to_string())
    );
}

#[test]
fn dropping_it_early_unwinds_its_stack() {
    let log = Log::default();
    let inner = log.clone();
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _outer = Finally(inner.clone(), "outer");
        let _inner = Finally(inner, "inner");
        loop {
            yielder.suspend(1)?;
        }
    });
    for _ in generator.by_ref().take(3) {}
    drop(generator);
    assert_eq!(*log.borrow(), ["inner", "outer"]);
}

#[test]
#[should_panic(expected = "the generator raised: out of paper")]
fn a_for_loop_cannot_handle_what_the_body_raises() {
    let mut generator: Generator<(), u8, ()> = Generator::new(|_| Err("out of paper".into()));
    generator.next();
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_of_the_body_reaches_its_caller() {
    let mut generator: Generator<(), u8, ()> = Generator::new(|_| panic!("on purpose"));
    generator.next();
}

#[test]
fn generators_in_a_pipeline_hand_on_one_value_at_a_time() {
    fn numbers(log: Log) -> Generator<(), u32, ()> {
        Generator::new(move |yielder| {
            for n in 1.. {
                log.borrow_mut().push("made");
                yielder.suspend(n)?;
            }
            Ok(())
        })
    }
    fn squares(source: impl Iterator<Item = u32> + 'static) -> Generator<(), u32, ()> {
        Generator::new(move |yielder| {
            for n in source {
                yielder.suspend(n * n)?;
            }
            Ok(())
        })
    }
    let log = Log::default();
    let even = squares(numbers(log.clone())).filter(|n| n % 2 == 0);
    assert_eq!(even.take(3).collect::<Vec<_>>(), [4, 16, 36]);
    assert_eq!(log.borrow().len(), 6); // nothing was made before it was requested
}

#[test]
fn a_body_yields_from_any_depth_of_calls() {
    fn in_order(yielder: &Yielder<(), u32>, from: u32, to: u32) -> Result<(), Raised> {
        if from == to {
            return Ok(());
        }
        let middle = from.midpoint(to);
        in_order(yielder, from, middle)?;
        yielder.suspend(middle)?;
        in_order(yielder, middle + 1, to)
    }
    let generator = Generator::new(|yielder| in_order(yielder, 0, 7));
    assert_eq!(generator.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn the_stackless_one_does_the_same() {
    let mut generator = stackless::Generator::new(|yielder: stackless::Yielder<_, _>| async move {
        let a = yielder.suspend(1).await;
        let b = yielder.suspend(2).await;
        format!("{a} and {b}")
    });
    assert_eq!(told(generator.start()), Ok(Step::Yielded(1)));
    assert_eq!(told(generator.send("left")), Ok(Step::Yielded(2)));
    assert_eq!(told(generator.send("right")), Ok(Step::Returned("left and right".to_string())));
}

#[test]
fn dropping_the_stackless_one_drops_what_its_body_holds() {
    let log = Log::default();
    let inner = log.clone();
    let mut generator: stackless::Generator<(), u8, ()> =
        stackless::Generator::new(|yielder| async move {
            let _finally = Finally(inner, "finally");
            yielder.suspend(1).await;
        });
    assert!(generator.start().is_ok());
    drop(generator);
    assert_eq!(*log.borrow(), ["finally"]);
}
