//! One Deferred and its chain.

use std::io;
use std::mem::size_of;
use std::time::Duration;

use super::*;
use crate::twisted::clock::Clock;
use crate::twisted::defer::{Core, Deferred, fail, maybe_deferred, succeed};
use crate::twisted::failure::CancelledError;

#[test]
fn callbacks_run_in_the_order_in_which_they_were_added_each_with_the_last_ones_result() {
    let (resolver, deferred) = Deferred::new();
    let deferred = deferred
        .add_callback(|n: i32| Ok(n + 1))
        .add_callback(|n| Ok(n * 10))
        .add_callback(|n| Ok(format!("<{n}>")));
    resolver.callback(3);
    assert_eq!(result_of(deferred), "<40>");
}

#[test]
fn a_callback_added_after_the_result_is_there_runs_at_once() {
    let log = Log::default();
    let late = log.clone();
    drop(succeed(1).add_callback(move |n| late.note(n)));
    assert_eq!(log.taken(), ["1"]);
}

#[test]
fn an_error_skips_callbacks_and_a_value_skips_errbacks() {
    let log = Log::default();
    let (skipped, also_skipped) = (log.clone(), log.clone());
    let failed = fail::<i32>(error("broken")).add_callback(move |n| {
        skipped.note("callback");
        Ok(n)
    });
    let fine = succeed(1).add_errback(move |failure| {
        also_skipped.note("errback");
        Err(failure)
    });
    assert_eq!(result_of(failed), "failed: broken");
    assert_eq!(result_of(fine), "1");
    assert!(log.taken().is_empty());
}

#[test]
fn an_errback_that_returns_a_value_ends_the_error() {
    let deferred = fail(error("broken"))
        .add_errback(|failure| Ok(format!("{failure}, mended")))
        .add_callback(|words| Ok(words + ", used"));
    assert_eq!(result_of(deferred), "broken, mended, used");
}

#[test]
fn an_errback_that_fails_passes_on_the_new_error() {
    let deferred = fail::<i32>(error("broken")).add_errback(|_| Err(error("worse")));
    assert_eq!(result_of(deferred), "failed: worse");
}

#[test]
fn add_callbacks_adds_side_by_side_an_error_of_the_callback_is_for_the_next_errback() {
    let deferred = succeed(1)
        .add_callbacks(
            |_| Err::<i32, _>(error("from the callback")),
            |_| Ok(0), // beside it, not after it
        )
        .add_errback(|failure| Err(error(&format!("{failure}, seen by the next"))));
    assert_eq!(result_of(deferred), "failed: from the callback, seen by the next");
    let deferred = fail::<i32>(error("broken")).add_callbacks(Ok, |_| Ok(7));
    assert_eq!(result_of(deferred), "7");
}

#[test]
fn add_both_sees_either() {
    let either = |result: Result<i32, Failure>| Ok(result.is_ok());
    assert_eq!(result_of(succeed(1).add_both(either)), "true");
    assert_eq!(result_of(fail(error("broken")).add_both(either)), "false");
}

#[test]
fn a_panic_in_a_callback_is_the_error_of_the_next_errback() {
    let deferred = succeed(1)
        .add_callback(|_| -> Result<i32, Failure> { panic!("on {}", "purpose") })
        .add_errback(|failure| Err(error(&format!("caught: {failure}"))));
    assert_eq!(result_of(deferred), "failed: caught: panicked: on purpose");
}

#[test]
fn a_chain_waits_for_the_deferred_that_a_callback_returns() {
    let (outer, deferred) = Deferred::new();
    let (inner, waited_for) = Deferred::new();
    let log = Log::default();
    let after = log.clone();
    let deferred = deferred
        .add_callback(move |n: i32| waited_for.add_callback(move |m: i32| Ok(n + m)))
        .add_callback(move |sum| {
            after.note(sum);
            Ok(sum)
        });
    outer.callback(1);
    assert!(log.taken().is_empty(), "paused: callback() returns before");
    inner.callback(2);
    assert_eq!(log.taken(), ["3"]);
    assert_eq!(result_of(deferred), "3");
}

#[test]
fn the_error_of_a_returned_deferred_is_the_error_of_the_chain() {
    let deferred = succeed(1).add_callback(|_| fail::<i32>(error("inner")));
    assert_eq!(result_of(deferred), "failed: inner");
}

#[test]
fn callbacks_of_a_deferred_fired_in_a_callback_run_when_that_returns_before_what_follows_it() {
    let (outer, deferred) = Deferred::new();
    let (first, first_deferred) = Deferred::new();
    let (second, second_deferred) = Deferred::new();
    let log = Log::default();
    let noted = |words: &'static str| {
        let log = log.clone();
        move |()| log.note(words)
    };
    let first_chain = first_deferred.add_callback(noted("first 1")).add_callback(noted("first 2"));
    let second_chain =
        second_deferred.add_callback(noted("second 1")).add_callback(noted("second 2"));
    let inside = log.clone();
    let chain = deferred
        .add_callback(move |()| {
            first.callback(());
            second.callback(());
            inside.note("returns");
        })
        .add_callback(noted("follows"));
    outer.callback(());
    assert_eq!(log.taken(), ["returns", "first 1", "first 2", "second 1", "second 2", "follows"]);
    drop((first_chain, second_chain, chain));
}

#[test]
fn cancel_calls_the_canceller_and_fires_cancelled_error() {
    let log = Log::default();
    let cancelled = log.clone();
    let (resolver, deferred) = Deferred::<i32>::new();
    let deferred = deferred.with_canceller(move || cancelled.note("canceller called"));
    deferred.cancel();
    assert_eq!(log.taken(), ["canceller called"]);
    resolver.callback(1); // too late, and no error
    assert_eq!(result_of(deferred), "failed: cancelled");
}

#[test]
fn a_canceller_may_fire_the_deferred_itself() {
    let (resolver, deferred) = Deferred::new();
    let deferred = deferred.with_canceller(move || resolver.callback("so far"));
    deferred.cancel();
    assert_eq!(result_of(deferred), "so far");
}

#[test]
fn a_canceller_that_drops_the_resolver_has_cancelled_it() {
    let clock = Clock::new();
    let (resolver, deferred) = Deferred::<i32>::new();
    let deferred =
        deferred.with_canceller(move || drop(resolver)).add_timeout(Duration::from_secs(3), &clock);
    clock.advance(Duration::from_secs(3));
    assert_eq!(result_of(deferred), "failed: timed out");
}

#[test]
fn cancel_does_nothing_to_a_deferred_that_has_fired() {
    let log = Log::default();
    let cancelled = log.clone();
    let (resolver, deferred) = Deferred::new();
    let deferred = deferred.with_canceller(move || cancelled.note("canceller called"));
    resolver.callback(1);
    deferred.cancel();
    assert!(log.taken().is_empty());
    assert_eq!(result_of(deferred), "1");
}

#[test]
fn cancel_at_the_end_of_a_chain_reaches_what_it_waits_for_at_its_beginning() {
    let log = Log::default();
    let cancelled = log.clone();
    let (resolver, deferred) = Deferred::<i32>::new();
    let chain = deferred
        .with_canceller(move || cancelled.note("canceller called"))
        .add_callback(|n| Ok(n + 1))
        .add_errback(|failure| Err(error(&format!("chain saw: {failure}"))));
    chain.cancel();
    assert_eq!(log.taken(), ["canceller called"]);
    assert_eq!(result_of(chain), "failed: chain saw: cancelled");
    drop(resolver);
}

#[test]
fn cancel_of_a_paused_chain_cancels_the_deferred_that_it_waits_for() {
    let log = Log::default();
    let (outer, inner) = (log.clone(), log.clone());
    let (inner_resolver, waited_for) = Deferred::<i32>::new();
    let waited_for = waited_for.with_canceller(move || inner.note("inner"));
    let (resolver, deferred) = Deferred::new();
    let chain =
        deferred.with_canceller(move || outer.note("outer")).add_callback(move |()| waited_for);
    resolver.callback(());
    chain.cancel();
    assert_eq!(log.taken(), ["inner"]);
    assert_eq!(result_of(chain), "failed: cancelled");
    drop(inner_resolver);
}

#[test]
fn an_unhandled_error_is_reported_when_the_last_handle_is_dropped() {
    let (log, _observing) = unhandled();
    let (resolver, deferred) = Deferred::<i32>::new();
    resolver.errback(error("lost"));
    assert!(log.taken().is_empty(), "it may still be handled");
    let deferred = deferred.add_callback(|n| Ok(n + 1));
    assert!(log.taken().is_empty(), "it may still be handled");
    drop(deferred);
    assert_eq!(log.taken(), ["lost"]);
}

#[test]
fn an_error_of_a_dropped_deferred_is_reported_when_it_comes() {
    let (log, _observing) = unhandled();
    let (resolver, deferred) = Deferred::<i32>::new();
    drop(deferred.add_callback(|n| Ok(n + 1)));
    resolver.errback(error("lost"));
    assert_eq!(log.taken(), ["lost"]);
}

#[test]
fn a_handled_error_and_an_unused_value_are_not_reported() {
    let (log, _observing) = unhandled();
    drop(fail::<i32>(error("handled")).add_errback(|_| Ok(1)));
    drop(succeed(1));
    assert!(log.taken().is_empty());
}

#[test]
fn an_unhandled_cancellation_is_reported() {
    let (log, _observing) = unhandled();
    let (resolver, deferred) = Deferred::<i32>::new();
    deferred.cancel();
    drop((resolver, deferred));
    assert_eq!(log.taken(), ["cancelled"]);
}

#[test]
fn a_resolver_that_is_dropped_fires_an_error() {
    let (log, _observing) = unhandled();
    let (resolver, deferred) = Deferred::<i32>::new();
    drop(resolver);
    assert_eq!(result_of(deferred), "failed: the Resolver was dropped before it fired");
    drop(Deferred::<i32>::new()); // an AbandonedError is not reported
    assert!(log.taken().is_empty());
}

#[test]
fn trap_passes_on_the_errors_of_other_types() {
    let deferred = fail::<i32>(CancelledError)
        .add_errback(|failure| failure.trap::<io::Error>().map(|_| 1))
        .add_errback(|failure| failure.trap::<CancelledError>().map(|_| 2));
    assert_eq!(result_of(deferred), "2");
}

#[test]
fn add_timeout_cancels_and_says_timed_out() {
    let clock = Clock::new();
    let log = Log::default();
    let cancelled = log.clone();
    let (resolver, deferred) = Deferred::<i32>::new();
    let deferred = deferred
        .with_canceller(move || cancelled.note("canceller called"))
        .add_timeout(Duration::from_secs(3), &clock);
    clock.advance(Duration::from_secs(2));
    assert!(log.taken().is_empty());
    clock.advance(Duration::from_secs(1));
    assert_eq!(log.taken(), ["canceller called"]);
    assert_eq!(result_of(deferred), "failed: timed out");
    drop(resolver);
}

#[test]
fn add_timeout_keeps_a_result_in_time_and_removes_its_timer() {
    let clock = Clock::new();
    let (resolver, deferred) = Deferred::new();
    let deferred = deferred.add_timeout(Duration::from_secs(3), &clock);
    resolver.callback(1);
    assert_eq!(clock.next(), None);
    assert_eq!(result_of(deferred), "1");
}

#[test]
fn add_timeout_does_not_rename_another_cancellation() {
    let clock = Clock::new();
    let (resolver, deferred) = Deferred::<i32>::new();
    let deferred = deferred.add_timeout(Duration::from_secs(3), &clock);
    deferred.cancel();
    assert_eq!(result_of(deferred), "failed: cancelled");
    drop(resolver);
}

#[test]
fn maybe_deferred_takes_a_value_an_error_a_panic_or_a_deferred() {
    assert_eq!(result_of(maybe_deferred(|| Ok(1))), "1");
    assert_eq!(result_of(maybe_deferred(|| succeed(2))), "2");
    let failed = maybe_deferred(|| Err::<i32, _>(error("broken")));
    assert_eq!(result_of(failed), "failed: broken");
    let panicked = maybe_deferred(|| -> Result<i32, Failure> { panic!("on purpose") });
    assert_eq!(result_of(panicked), "failed: panicked: on purpose");
}

#[test]
fn what_both_ends_share_is_small() {
    assert!(size_of::<Core<()>>() <= 40, "56 bytes with its counts");
}
