//! Repeated calls, on a clock set by hand.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::twisted::clock::Clock;
use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::failure::CancelledError;
use crate::twisted::looping_call::LoopingCall;

#[test]
fn looping_call_calls_now_and_then_every_interval() {
    let (clock, log) = (Clock::new(), Log::default());
    let beats = log.clone();
    let heart = LoopingCall::new(&clock, move |_| beats.note("beat"));
    watch(heart.start(SECOND), &log);
    assert_eq!(log.taken(), ["beat"]);
    for _ in 0..2 {
        clock.advance(SECOND);
    }
    assert_eq!(log.taken(), ["beat", "beat"]);
    heart.stop();
    clock.advance(5 * SECOND);
    assert_eq!(log.taken(), ["done"]);
}

#[test]
fn looping_call_skips_what_it_missed_and_keeps_the_beat() {
    let (clock, log) = (Clock::new(), Log::default());
    let beats = log.clone();
    let heart = LoopingCall::new(&clock, move |_| beats.note("beat"));
    let done = heart.start(SECOND);
    clock.advance(Duration::from_millis(3500)); // another callback took that long
    assert_eq!(log.taken(), ["beat", "beat"]);
    clock.advance(Duration::from_millis(400));
    assert!(log.taken().is_empty());
    clock.advance(Duration::from_millis(100)); // 4 s from the start
    assert_eq!(log.taken(), ["beat"]);
    drop(done);
}

#[test]
fn looping_call_waits_for_the_deferred_that_its_function_returns() {
    let (clock, log) = (Clock::new(), Log::default());
    let slot = Rc::new(Cell::new(None));
    let (calls, resolver) = (log.clone(), slot.clone());
    let looping = LoopingCall::new(&clock, move |_| {
        calls.note("call");
        let (fire, deferred) = Deferred::<()>::new();
        resolver.set(Some(fire));
        deferred
    });
    watch(looping.start(SECOND), &log);
    clock.advance(5 * SECOND);
    assert_eq!(log.taken(), ["call"]);
    slot.take().expect("it was called").callback(());
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["call"]);
    looping.stop();
}

#[test]
fn looping_call_ends_with_the_error_of_its_function() {
    let (clock, log) = (Clock::new(), Log::default());
    let looping = LoopingCall::new(&clock, |_| Err::<(), _>(CancelledError.into()));
    watch(looping.start(SECOND), &log);
    assert_eq!(log.taken(), ["failed: cancelled"]);
    assert!(!looping.running());
    assert_eq!(clock.next(), None);
}

#[test]
fn looping_call_may_stop_itself_and_be_started_again() {
    let (clock, log) = (Clock::new(), Log::default());
    let (calls, count) = (log.clone(), Cell::new(0));
    let looping = LoopingCall::new(&clock, move |looping| {
        count.set(count.get() + 1);
        calls.note(count.get());
        if count.get() % 3 == 0 {
            looping.stop();
        }
    });
    watch(looping.start(SECOND), &log);
    (0..9).for_each(|_| clock.advance(SECOND));
    assert_eq!(log.taken(), ["1", "2", "3", "done"]);
    watch(looping.start(SECOND), &log);
    (0..9).for_each(|_| clock.advance(SECOND));
    assert_eq!(log.taken(), ["4", "5", "6", "done"]);
}

#[test]
fn cancelling_a_looping_call_stops_it() {
    let clock = Clock::new();
    let looping = LoopingCall::new(&clock, |_| {});
    let done = looping.start(SECOND);
    done.cancel();
    assert!(!looping.running());
    assert_eq!(clock.next(), None);
}

/// A loop with calls that end when a test fires them.
fn slow(clock: &Clock) -> (LoopingCall, Rc<RefCell<Vec<Resolver<()>>>>) {
    let calls = Rc::new(RefCell::new(Vec::new()));
    let begun = calls.clone();
    let looping = LoopingCall::new(clock, move |_| {
        let (end, call) = Deferred::<()>::new();
        begun.borrow_mut().push(end);
        call
    });
    (looping, calls)
}

#[test]
fn a_looping_call_stopped_during_a_call_is_done_when_that_has_ended() {
    let (clock, log) = (Clock::new(), Log::default());
    let (looping, calls) = slow(&clock);
    watch(looping.start(SECOND), &log);
    looping.stop();
    assert!(!looping.running() && log.taken().is_empty());
    calls.borrow_mut().remove(0).callback(());
    assert_eq!(log.taken(), ["done"]);
    assert_eq!(clock.next(), None);
}

#[test]
fn a_looping_call_that_is_stopped_and_fails_in_one_call_has_failed() {
    let (clock, log) = (Clock::new(), Log::default());
    let looping = LoopingCall::new(&clock, |looping| {
        looping.stop();
        Err::<(), _>(error("broken"))
    });
    watch(looping.start(SECOND), &log);
    assert_eq!(log.taken(), ["failed: broken"]);
    let (looping, calls) = slow(&clock);
    watch(looping.start(SECOND), &log);
    looping.stop();
    calls.borrow_mut().remove(0).errback(error("late"));
    assert_eq!(log.taken(), ["failed: late"]);
}

#[test]
fn a_call_from_before_a_restart_neither_ends_nor_doubles_the_new_run() {
    for fails in [true, false] {
        let (clock, log) = (Clock::new(), Log::default());
        let (looping, calls) = slow(&clock);
        watch(looping.start(SECOND), &log);
        looping.stop();
        let again = looping.start(SECOND);
        assert_eq!(calls.borrow().len(), 2, "the new run begins at once");
        let old = calls.borrow_mut().remove(0);
        if fails {
            old.errback(error("old"));
        } else {
            old.callback(());
        }
        assert_eq!(log.taken(), [if fails { "failed: old" } else { "done" }]);
        assert!(looping.running());
        clock.advance(3 * SECOND);
        assert_eq!(calls.borrow().len(), 1, "its first call has not ended");
        calls.borrow_mut().remove(0).callback(());
        clock.advance(SECOND);
        assert_eq!(calls.borrow().len(), 1, "one call, not two");
        watch(again, &log);
        looping.stop();
        calls.borrow_mut().remove(0).callback(());
        assert_eq!(log.taken(), ["done"]);
    }
}

#[test]
fn a_looping_call_may_restart_itself_inside_its_own_call() {
    let (clock, log) = (Clock::new(), Log::default());
    let (calls, inner) = (log.clone(), log.clone());
    let count = Cell::new(0);
    let looping = LoopingCall::new(&clock, move |looping| {
        calls.note("call");
        count.set(count.get() + 1);
        if count.get() == 1 {
            looping.stop();
            watch(looping.start(5 * SECOND), &inner);
        }
    });
    watch(looping.start(SECOND), &log);
    assert_eq!(log.taken(), ["call", "done"]);
    clock.advance(Duration::ZERO);
    assert_eq!(log.taken(), ["call"]);
    clock.advance(4 * SECOND);
    assert!(log.taken().is_empty());
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["call"]);
    looping.stop();
    assert_eq!(log.taken(), ["done"]);
}
