//! How greenlets end when they panic, when main is dropped, and in tasks.

use super::*;
use crate::coroutine::testing::Explosive;

#[test]
fn dropping_main_unwinds_suspended_greenlets() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    for name in ["a", "b"] {
        let inner = log.clone();
        main.greenlet(name, move |me, _: u32| {
            let _finally = Finally(inner, name);
            me.switch(MAIN, 0)
        })?;
        main.switch(name, 0)?;
    }
    let owned = Finally(log.clone(), "never started");
    main.greenlet("c", move |_, _| {
        let _owned = owned;
        Ok(0)
    })?;
    drop(main);
    assert_eq!(logged(&log), "a, b, never started");
    Ok(())
}

/// Switches in its destructor, and notes the result.
struct Switches<'a>(Log, &'a Greenlet<'a, u32>);

impl Drop for Switches<'_> {
    fn drop(&mut self) {
        match self.1.switch(MAIN, 0) {
            Ok(value) => note(&self.0, format!("got {value}")),
            Err(raised) => note(&self.0, raised.to_string()),
        }
    }
}

#[test]
fn a_greenlet_that_is_being_unwound_cannot_switch() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let inner = log.clone();
    main.greenlet("child", move |me, _: u32| {
        let _switches = Switches(inner, me);
        panic!("on purpose");
    })?;
    catch_unwind(AssertUnwindSafe(|| main.switch("child", 0))).expect_err("it panicked");
    assert_eq!(logged(&log), "a greenlet that is being unwound cannot switch");
    Ok(())
}

#[test]
fn greenlets_may_be_used_in_a_destructor_during_a_panic() {
    struct Uses(Log);
    impl Drop for Uses {
        fn drop(&mut self) {
            let main = Greenlet::main();
            let made = main.greenlet("child", |me, value: u32| me.switch(MAIN, value + 1));
            let value = made.and_then(|()| main.switch("child", 1));
            note(&self.0, format!("{:?}", value.ok()));
        }
    }
    let log = Log::default();
    let uses = Uses(log.clone());
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _uses = uses;
        panic!("on purpose");
    }));
    result.expect_err("it panicked");
    assert_eq!(logged(&log), "Some(2)");
}

#[test]
fn a_greenlet_that_switches_or_goes_on_when_it_is_dropped_is_unwound() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let (finally, inner) = (Finally(log.clone(), "switched"), log.clone());
    main.greenlet("switches", move |me, _: u32| {
        let _finally = finally;
        let _switches = Switches(inner, me);
        me.switch(MAIN, 0)
    })?;
    let finally = Finally(log.clone(), "went on");
    main.greenlet("goes on", move |me, _| {
        let _finally = finally;
        loop {
            let _ignored = me.switch(MAIN, 0);
        }
    })?;
    let finally = Finally(log.clone(), "caught");
    main.greenlet("catches", move |me, _| {
        let _finally = finally;
        let _caught = catch_unwind(AssertUnwindSafe(|| me.switch(MAIN, 0)));
        let _caught = catch_unwind(AssertUnwindSafe(|| me.switch(MAIN, 0)));
        Ok(0)
    })?;
    for name in ["switches", "goes on", "catches"] {
        main.switch(name, 0)?;
    }
    drop(main);
    assert_eq!(logged(&log), "switched, went on, caught");
    Ok(())
}

#[test]
fn a_greenlet_may_panic_or_raise_or_start_another_when_it_is_dropped() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    main.greenlet("panics", |me, _: u32| {
        let _explosive = Explosive("dropped");
        me.switch(MAIN, 0)
    })?;
    let explosive = Explosive("dropped");
    main.greenlet("has not started", move |_, value| {
        let _explosive = &explosive;
        Ok(value)
    })?;
    main.greenlet("raises", |me, _| me.switch(MAIN, 0).map_err(|_| "instead".into()))?;
    let finally = Finally(log.clone(), "finally");
    main.greenlet("starts another", move |me, _| {
        let raised = me.switch(MAIN, 0);
        me.greenlet("another", move |_, value| {
            let _finally = &finally;
            Ok(value)
        })?;
        raised
    })?;
    for name in ["panics", "raises", "starts another"] {
        main.switch(name, 0)?;
    }
    drop(main);
    assert_eq!(logged(&log), "finally");
    Ok(())
}

#[test]
fn a_panic_goes_to_the_parent_which_may_catch_it() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("parent", |me, _: u32| {
        me.greenlet("child", |me, _| {
            me.greenlet("grandchild", |_, _| panic!("on purpose"))?;
            me.switch("grandchild", 0)
        })?;
        let result = catch_unwind(AssertUnwindSafe(|| me.switch("child", 0)));
        let payload = result.expect_err("its grandchild panicked");
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        me.switch(MAIN, 7)
    })?;
    assert_eq!(main.switch("parent", 0)?, 7);
    assert!(main.dead("child") && main.dead("grandchild") && !main.dead("parent"));
    Ok(())
}

#[test]
fn a_panic_ends_a_parent_that_has_not_started() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let finally = Finally(log.clone(), "dropped");
    main.greenlet("parent", move |_, value: u32| {
        let _finally = &finally;
        Ok(value)
    })?;
    main.greenlet("child", |_, _| panic!("on purpose"))?;
    main.set_parent("child", "parent")?;
    catch_unwind(AssertUnwindSafe(|| main.switch("child", 0))).expect_err("it panicked");
    assert!(main.dead("parent"));
    assert_eq!(logged(&log), "dropped");
    Ok(())
}

#[test]
fn two_tasks_cannot_switch_one_tree_at_a_time() {
    use crate::coroutine::scheduler::{run, spawn, yield_now};
    run(|| {
        let main: Rc<Greenlet<u32>> = Rc::new(Greenlet::main());
        for name in ["a", "b"] {
            let body = |_: &Greenlet<u32>, value| {
                yield_now();
                Ok(value)
            };
            main.greenlet(name, body).expect("a stack");
        }
        let mut tasks = Vec::new();
        for name in ["a", "b", "a", MAIN] {
            let main = main.clone();
            tasks.push(spawn(move || main.switch(name, 1).map_err(|raised| raised.to_string())));
        }
        let refused = Err("another greenlet of this tree is running".to_string());
        let results: Vec<_> =
            tasks.into_iter().map(|task| task.join().expect("no panic")).collect();
        assert_eq!(results, [Ok(1), refused.clone(), refused.clone(), refused]);
        assert_eq!(main.switch("b", 2).expect("no other runs now"), 2);
    });
}

#[test]
fn main_cannot_switch_while_it_is_away() -> Result<(), Raised> {
    let main: Rc<Greenlet<u32>> = Rc::new(Greenlet::main());
    let same = Rc::downgrade(&main);
    main.greenlet("child", move |_, _| {
        let main = same.upgrade().expect("it waits");
        for name in ["child", "other", MAIN] {
            let raised = main.switch(name, 0).expect_err("main waits for this one");
            assert!(raised.is::<Misuse>());
        }
        Ok(1)
    })?;
    main.greenlet("other", |_, value| Ok(value))?;
    assert_eq!(main.switch("child", 0)?, 1);
    Ok(())
}

#[test]
fn closing_a_task_unwinds_the_greenlet_that_it_waits_in_and_ends_the_others() {
    use crate::coroutine::scheduler::{run, spawn, yield_now};
    use crate::coroutine::testing::forever;
    let log = Log::default();
    run(|| {
        let log = log.clone();
        let task = spawn(move || {
            let main: Greenlet<u32> = Greenlet::main();
            let finally = Finally(log.clone(), "suspended");
            main.greenlet("suspended", move |me, _| {
                let _finally = finally;
                me.switch(MAIN, 0)
            })?;
            let finally = Finally(log.clone(), "waiting");
            main.greenlet("waiting", move |_, _| {
                let _finally = finally;
                forever()?;
                Ok(0)
            })?;
            main.switch("suspended", 0)?;
            main.switch("waiting", 0)
        });
        yield_now();
        task.close();
    });
    assert_eq!(logged(&log), "waiting, suspended");
}
