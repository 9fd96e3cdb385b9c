//! How generators end: by a panic, a drop, a close, a `StopIteration` (PEP 479), or a limit.

use super::*;
use crate::coroutine::scheduler::said;
use crate::coroutine::testing::Explosive;

/// What `f` panics with.
fn panicked<T>(f: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).err().expect("it panics");
    said(&*payload).to_string()
}

#[test]
fn a_body_whose_drop_panicked_before_its_start_is_never_run_or_dropped_again() {
    type End = fn(&mut Generator<(), u8, ()>);
    struct Counts(Rc<Cell<u32>>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic!("dropped");
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let close: End = |generator| drop(generator.close());
    let throw: End = |generator| drop(generator.throw("too early"));
    for end in [close, throw] {
        dropped.set(0);
        let owned = Counts(dropped.clone());
        let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
            let _owned = owned;
            yielder.suspend(1)
        });
        assert_eq!(panicked(|| end(&mut generator)), "dropped");
        assert_eq!(generator.next(), None);
        assert_eq!(raised(generator.send(())), "StopIteration");
        drop(generator);
        assert_eq!(dropped.get(), 1);
    }
}

#[test]
fn an_unstarted_generator_may_be_dropped_though_what_it_owns_panics() {
    let explosive = Explosive("dropped");
    let generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _explosive = explosive;
        yielder.suspend(1)
    });
    drop(generator);
}

#[test]
fn a_suspended_generator_may_be_dropped_though_its_destructors_panic() {
    let log = Log::default();
    let finally = Finally(log.clone(), "finally");
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _finally = finally;
        let _explosive = Explosive("dropped");
        yielder.suspend(1)
    });
    generator.next();
    drop(generator);
    assert_eq!(*log.borrow(), ["finally"]);
}

#[test]
fn a_panic_of_a_destructor_reaches_the_caller_of_close() {
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _explosive = Explosive("dropped");
        yielder.suspend(1)
    });
    generator.next();
    assert_eq!(panicked(|| generator.close()), "dropped");
    generator.close().expect("it has ended");
}

/// Yields in its destructor, and notes the result.
struct Yields<'a>(Log, &'a Yielder<'a, (), u8>);

impl Drop for Yields<'_> {
    fn drop(&mut self) {
        let yielded = self.1.suspend(2);
        self.0.borrow_mut().push(if yielded.is_ok() { "yielded" } else { "refused" });
    }
}

#[test]
fn a_destructor_may_yield_while_its_generator_is_dropped() {
    let log = Log::default();
    let (finally, inner) = (Finally(log.clone(), "finally"), log.clone());
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _finally = finally;
        let _yields = Yields(inner, yielder);
        yielder.suspend(1)
    });
    generator.next();
    drop(generator);
    assert_eq!(*log.borrow(), ["finally"]);
}

#[test]
fn a_body_that_panics_cannot_yield_in_its_destructors() {
    let log = Log::default();
    let inner = log.clone();
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _yields = Yields(inner, yielder);
        yielder.suspend(1)?;
        panic!("on purpose");
    });
    generator.next();
    assert_eq!(panicked(|| generator.next()), "on purpose");
    assert_eq!(*log.borrow(), ["refused"]);
    assert_eq!(generator.next(), None);
}

#[test]
fn a_generator_may_be_used_and_dropped_in_a_destructor_during_a_panic() {
    struct Uses(Log, Generator<(), u32, &'static str>);
    impl Drop for Uses {
        fn drop(&mut self) {
            if count_to(3).sum::<u32>() == 6 && self.1.next() == Some(2) {
                self.0.borrow_mut().push("counted");
            }
        }
    }
    let log = Log::default();
    let mut started = count_to(3);
    started.next();
    let uses = Uses(log.clone(), started);
    let panicked = panicked(|| {
        let _uses = uses;
        panic!("on purpose");
    });
    assert_eq!(panicked, "on purpose");
    assert_eq!(*log.borrow(), ["counted"]);
}

#[test]
fn a_body_that_ignores_its_end_is_unwound_when_it_is_dropped() {
    let log = Log::default();
    let inner = log.clone();
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        let _finally = Finally(inner, "finally");
        loop {
            let _ignored = yielder.suspend(1);
        }
    });
    generator.next();
    assert_eq!(generator.close().expect_err("it yields").to_string(), IGNORED);
    assert_eq!(generator.next(), Some(1)); // as in Python, it goes on
    drop(generator);
    assert_eq!(*log.borrow(), ["finally"]);
}

#[test]
fn a_body_that_catches_even_its_unwinding_leaks_and_blocks_no_other() {
    let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
        loop {
            let _caught = catch_unwind(AssertUnwindSafe(|| yielder.suspend(1)));
        }
    });
    generator.next();
    drop(generator);
}

#[test]
fn a_return_value_may_panic_when_its_generator_is_dropped() {
    let mut generator: Generator<(), u8, Explosive> = Generator::new(move |yielder| {
        let _exit = yielder.suspend(1);
        Ok(Explosive("dropped"))
    });
    generator.next();
    drop(generator);
}

#[test]
fn a_generator_that_is_dropped_by_a_task_that_is_closed_ends_too() {
    use crate::coroutine::scheduler::{run, spawn, yield_now};
    use crate::coroutine::testing::forever;
    let log = Log::default();
    let inner = log.clone();
    run(|| {
        let task = spawn(move || {
            let mut generator: Generator<(), u8, ()> = Generator::new(move |yielder| {
                let _finally = Finally(inner, "finally");
                yielder.suspend(1)
            });
            generator.next();
            forever()
        });
        yield_now();
        task.close();
    });
    assert_eq!(*log.borrow(), ["finally"]);
}

// ---- PEP 479 and what came after ---------------------------------------------------------------

#[test]
fn a_body_that_raises_stop_iteration_has_not_ended_in_the_ordinary_way() {
    const RAISED: &str = "generator raised StopIteration";
    let mut raises: Generator<(), u8, ()> = Generator::new(|_| Err(StopIteration.into()));
    assert_eq!(raised(raises.start()), RAISED);
    assert_eq!(raised(raises.start()), "StopIteration");
    let mut asks: Generator<(), u8, ()> = Generator::new(|yielder| {
        let mut inner = count_to(0);
        inner.start()?;
        yielder.suspend(1)?;
        inner.send(())?; // as next(inner) in Python
        Ok(())
    });
    asks.start().expect("it yields");
    assert_eq!(raised(asks.send(())), RAISED);
    let mut asks: Generator<(), u8, ()> = Generator::new(|_| {
        let mut inner = count_to(0);
        inner.next();
        inner.send(())?;
        Ok(())
    });
    assert_eq!(panicked(|| asks.next()), format!("the generator raised: {RAISED}"));
}

#[test]
fn stop_iteration_that_is_thrown_in_and_not_handled_is_an_error_too() {
    const RAISED: &str = "generator raised StopIteration";
    let mut unstarted = count_to(3);
    assert_eq!(raised(unstarted.throw(StopIteration)), RAISED);
    let mut suspended = count_to(3);
    suspended.next();
    assert_eq!(raised(suspended.throw(StopIteration)), RAISED);
    assert_eq!(raised(suspended.throw(StopIteration)), "StopIteration"); // it has ended
    let mut closed: Generator<(), u8, ()> = Generator::new(|yielder| {
        let _exit = yielder.suspend(1);
        Err(StopIteration.into())
    });
    closed.next();
    assert_eq!(closed.close().expect_err("it raises").to_string(), RAISED);
}

#[test]
fn close_returns_what_the_body_returns() {
    let mut generator: Generator<(), u8, &str> = Generator::new(|yielder| {
        let _exit = yielder.suspend(1);
        Ok("the rest")
    });
    generator.next();
    assert_eq!(generator.close().expect("no error"), Some("the rest"));
    assert_eq!(generator.close().expect("no error"), None);
    let mut unstarted = count_to(3);
    assert_eq!(unstarted.close().expect("no error"), None);
    let mut passes_on = count_to(3);
    passes_on.next();
    assert_eq!(passes_on.close().expect("no error"), None);
    let mut ended = count_to(0);
    ended.next();
    assert_eq!(ended.close().expect("no error"), None);
}

#[test]
fn a_generator_that_has_ended_cannot_be_started() {
    let mut closed = count_to(3);
    closed.close().expect("no error");
    assert_eq!(raised(closed.start()), "StopIteration");
    let mut counted = count_to(3);
    assert_eq!(counted.by_ref().count(), 3);
    assert_eq!(raised(counted.start()), "StopIteration");
}

#[test]
fn at_the_kernels_limit_a_generator_is_an_error_that_names_it() {
    // In a process of its own: the limit is per process.
    let child = std::process::Command::new("/proc/self/exe")
        .args(["--exact", "coroutine::generators::tests::ends::as_many_as_the_kernel_allows"])
        .args(["--ignored", "--nocapture"])
        .output()
        .expect("we run");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("vm.max_map_count"), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by the test above"]
fn as_many_as_the_kernel_allows() {
    let mut generators = Vec::new();
    let error = loop {
        let body = |yielder: &Yielder<(), u8>| yielder.suspend(1);
        match Generator::try_new(body) {
            Ok(generator) => generators.push(generator),
            Err(error) => break error,
        }
        // This machine has a higher limit, or none.
        if generators.len() == 200_000 {
            break io::Error::other("vm.max_map_count is out of reach");
        }
    };
    generators.truncate(100);
    println!("{error}");
}

// ---- without a stack ---------------------------------------------------------------------------

fn echo_without_stack() -> stackless::Generator<u8, u8, &'static str> {
    stackless::Generator::new(|yielder| async move {
        let mut value = 0;
        while value < 9 {
            value = yielder.suspend(value).await;
        }
        "nine"
    })
}

#[test]
fn without_a_stack_nothing_can_be_sent_before_the_start() {
    let mut generator = echo_without_stack();
    assert_eq!(raised(generator.send(5)), "can't send a value to a just-started generator");
    assert_eq!(told(generator.start()), Ok(Step::Yielded(0)));
    assert_eq!(raised(generator.start()), "the generator has started before");
    assert_eq!(told(generator.send(5)), Ok(Step::Yielded(5)));
}

#[test]
fn a_stackless_generator_that_has_ended_stays_ended() {
    let mut generator = echo_without_stack();
    assert_eq!(told(generator.start()), Ok(Step::Yielded(0)));
    assert_eq!(told(generator.send(9)), Ok(Step::Returned("nine")));
    assert_eq!(raised(generator.send(1)), "StopIteration");
    assert_eq!(raised(generator.start()), "StopIteration");
    let mut panics: stackless::Generator<u8, u8, u8> =
        stackless::Generator::new(|_| async { panic!("on purpose") });
    assert_eq!(panicked(|| drop(panics.start())), "on purpose");
    assert_eq!(raised(panics.start()), "StopIteration");
}

#[test]
fn without_a_stack_only_yields_can_be_awaited() {
    let mut generator: stackless::Generator<u8, u8, ()> =
        stackless::Generator::new(|_| std::future::pending());
    assert_eq!(raised(generator.start()), "the body awaited something that is not a yield");
    assert_eq!(raised(generator.send(1)), "StopIteration");
}
