//! What greenlets.rs promises, one test per promise.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::coroutine::testing::{Finally, Log, note};

mod ends;

fn logged(log: &Log) -> String {
    log.borrow().join(", ")
}

#[test]
fn switches_go_to_the_named_greenlet_and_carry_values_both_ways() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let (of_ping, of_pong) = (log.clone(), log.clone());
    main.greenlet("ping", move |me, x: u32| {
        note(&of_ping, format!("ping {x}"));
        let y = me.switch("pong", x + 1)?;
        note(&of_ping, format!("ping {y}"));
        me.switch(MAIN, y + 1)
    })?;
    main.greenlet("pong", move |me, x| {
        note(&of_pong, format!("pong {x}"));
        me.switch("ping", x + 1)
    })?;
    assert_eq!(main.switch("ping", 1)?, 4);
    assert_eq!(logged(&log), "ping 1, pong 2, ping 3");
    assert!(!main.dead("ping") && !main.dead("pong"));
    Ok(())
}

#[test]
fn a_greenlet_starts_with_the_first_switch_and_not_before() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let inner = log.clone();
    main.greenlet("child", move |me, first: u32| {
        note(&inner, format!("{} got {first}", me.name()));
        Ok(first)
    })?;
    assert!(log.borrow().is_empty());
    assert!(!main.dead("child"));
    main.switch("child", 7)?;
    assert_eq!(logged(&log), "child got 7");
    Ok(())
}

#[test]
fn the_result_goes_to_the_parent_not_to_the_last_switcher() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let inner = log.clone();
    main.greenlet("parent", move |me, _: u32| {
        me.greenlet("child", |me, _| {
            me.switch("stranger", 0)?;
            Ok(42)
        })?;
        let result = me.switch("child", 0)?;
        note(&inner, format!("parent got {result}"));
        Ok(1)
    })?;
    main.greenlet("stranger", |me, _| me.switch("child", 0))?;
    assert_eq!(main.switch("parent", 0)?, 1);
    assert_eq!(logged(&log), "parent got 42");
    assert!(main.dead("child") && main.dead("parent") && !main.dead("stranger"));
    assert_eq!(main.parent("child"), Some("parent"));
    assert_eq!(main.parent(MAIN), None);
    Ok(())
}

#[test]
fn an_error_that_is_not_handled_is_raised_in_the_parent() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("parent", |me, _: u32| {
        me.greenlet("child", |_, _| Err("spilled milk".into()))?;
        match me.switch("child", 0) {
            Err(raised) if raised.to_string() == "spilled milk" => Ok(1),
            other => other,
        }
    })?;
    assert_eq!(main.switch("parent", 0)?, 1);
    Ok(())
}

#[test]
fn an_unhandled_error_climbs_the_whole_tree_to_main() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("a", |me, _: u32| {
        me.greenlet("b", |me, _| {
            me.greenlet("c", |_, _| Err("from the bottom".into()))?;
            me.switch("c", 0)
        })?;
        me.switch("b", 0)
    })?;
    let raised = main.switch("a", 0).expect_err("no greenlet handles it");
    assert_eq!(raised.to_string(), "from the bottom");
    assert!(main.dead("a") && main.dead("b") && main.dead("c"));
    Ok(())
}

#[test]
fn throw_raises_where_the_greenlet_switched_away() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("child", |me, _| match me.switch(MAIN, 1) {
        Err(raised) if raised.to_string() == "come back" => Ok(2),
        other => other,
    })?;
    assert_eq!(main.switch("child", 0)?, 1);
    assert_eq!(main.throw("child", "come back")?, 2);
    Ok(())
}

#[test]
fn throw_into_one_that_has_not_started_is_raised_in_its_parent() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let inner = log.clone();
    main.greenlet("child", move |_, value: u32| {
        note(&inner, "ran");
        Ok(value)
    })?;
    let raised = main.throw("child", "too early").expect_err("it has no line yet");
    assert_eq!(raised.to_string(), "too early");
    assert!(main.dead("child") && log.borrow().is_empty());
    Ok(())
}

#[test]
fn greenlet_exit_kills_quietly_and_destructors_run() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let inner = log.clone();
    main.greenlet("child", move |me, _: u32| {
        let _finally = Finally(inner, "finally");
        me.switch(MAIN, 1)
    })?;
    main.switch("child", 0)?;
    assert_eq!(main.throw("child", GreenletExit)?, 0); // not an error
    assert!(main.dead("child"));
    assert_eq!(logged(&log), "finally");
    Ok(())
}

#[test]
fn a_value_for_a_dead_greenlet_goes_to_its_nearest_living_ancestor() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("parent", |me, _: u32| {
        me.greenlet("child", |_, _| Ok(0))?;
        me.switch("child", 0)
    })?;
    main.switch("parent", 0)?;
    assert!(main.dead("parent") && main.dead("child"));
    assert_eq!(main.switch("child", 5)?, 5);
    let raised = main.throw("child", "a letter").expect_err("it is for main now");
    assert_eq!(raised.to_string(), "a letter");
    assert_eq!(main.throw("child", GreenletExit)?, 0);
    Ok(())
}

#[test]
fn a_switch_to_itself_returns_at_once() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("child", |me, value| me.switch("child", value + 1))?;
    assert_eq!(main.switch("child", 1)?, 2);
    assert_eq!(main.switch(MAIN, 3)?, 3);
    Ok(())
}

#[test]
fn a_switch_to_an_unknown_name_is_an_error() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("child", |me, _| match me.switch("nobody", 0) {
        Err(raised) if raised.is::<Misnamed>() => Ok(1),
        other => other,
    })?;
    assert_eq!(main.switch("child", 0)?, 1);
    let raised = main.switch("nobody", 0).expect_err("no greenlet has that name");
    assert_eq!(raised.to_string(), "greenlet \"nobody\" does not exist");
    Ok(())
}

#[test]
fn a_name_is_given_once() -> Result<(), Raised> {
    let main: Greenlet<u32> = Greenlet::main();
    main.greenlet("child", |_, value| Ok(value))?;
    for taken in ["child", MAIN] {
        main.greenlet(taken, |_, value| Ok(value)).expect_err("the name is taken");
    }
    Ok(())
}

#[test]
fn a_greenlet_may_be_given_another_parent_but_not_itself() -> Result<(), Raised> {
    let main: Greenlet<u32> = Greenlet::main();
    main.greenlet("a", |me, value| me.switch(MAIN, value))?;
    main.greenlet("b", |_, value| Ok(value))?;
    main.set_parent("b", "a")?;
    let raised = main.set_parent("a", "b").expect_err("b is below a");
    assert_eq!(raised.to_string(), "greenlet \"a\" would be its own ancestor");
    main.set_parent("a", "a").expect_err("no greenlet is its own parent");
    main.set_parent("a", "nobody").expect_err("no greenlet has that name");
    // b's result goes to a, which returns it to main as its own.
    main.switch("a", 0)?;
    assert_eq!(main.switch("b", 9)?, 9);
    assert!(main.dead("a") && main.dead("b"));
    Ok(())
}

#[test]
fn the_name_of_a_dead_one_can_be_used_again_and_its_children_stay_its_own() -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    main.greenlet("worker", |me, _: u32| {
        me.greenlet("child", |_, value| Ok(value))?;
        Ok(1)
    })?;
    assert_eq!(main.switch("worker", 0)?, 1);
    let inner = log.clone();
    main.greenlet("worker", move |me, _| {
        note(&inner, "started");
        me.switch(MAIN, 2)
    })?;
    assert!(!main.dead("worker"));
    // Its parent is the first worker, which is dead: so main receives it.
    assert_eq!(main.switch("child", 5)?, 5);
    assert!(log.borrow().is_empty());
    assert_eq!(main.switch("worker", 0)?, 2);
    main.greenlet("worker", |_, value| Ok(value)).expect_err("it is suspended");
    Ok(())
}

#[test]
fn a_result_starts_a_parent_that_has_not_started() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("parent", |_, first: u32| Ok(first * 10))?;
    main.greenlet("child", |_, value| Ok(value + 1))?;
    main.set_parent("child", "parent")?;
    assert_eq!(main.switch("child", 1)?, 20);
    Ok(())
}

/// As greenlet's own tests have it: thrown before the start, in its parent, and where it switched.
#[test]
fn throw_goes_to_the_parent_that_it_has() -> Result<(), Raised> {
    for (started_parent, started_child) in [(false, false), (true, false), (true, true)] {
        let main = Greenlet::main();
        main.greenlet("parent", |me, _: u32| match me.switch(MAIN, 1) {
            Err(_) => Ok(7),
            Ok(_) => Ok(8),
        })?;
        main.greenlet("child", |me, _| me.switch(MAIN, 2))?;
        main.set_parent("child", "parent")?;
        if started_parent {
            assert_eq!(main.switch("parent", 0)?, 1);
        }
        if started_child {
            assert_eq!(main.switch("child", 0)?, 2);
        }
        let came = main.throw("child", "IndexError").map_err(|raised| raised.to_string());
        let expected = if started_parent { Ok(7) } else { Err("IndexError".to_string()) };
        assert_eq!(came, expected);
        assert!(main.dead("child") && main.dead("parent"));
    }
    Ok(())
}

#[test]
fn a_panic_reaches_main() -> Result<(), Raised> {
    let main = Greenlet::main();
    main.greenlet("child", |_, _: u32| panic!("on purpose"))?;
    let result = catch_unwind(AssertUnwindSafe(|| main.switch("child", 0)));
    result.expect_err("it panicked");
    main.greenlet("other", |_, value| Ok(value))?;
    assert_eq!(main.switch("other", 2)?, 2);
    assert!(main.dead("child"));
    Ok(())
}

#[test]
fn a_ring_of_greenlets_passes_a_token() -> Result<(), Raised> {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let main = Greenlet::main();
    for (i, name) in NAMES.into_iter().enumerate() {
        main.greenlet(name, move |me, mut token: u32| {
            loop {
                let next = if token == 1000 { MAIN } else { NAMES[(i + 1) % 5] };
                token = me.switch(next, token + 1)?;
            }
        })?;
    }
    assert_eq!(main.switch("a", 0)?, 1001);
    Ok(())
}
