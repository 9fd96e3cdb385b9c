//! `async` blocks that await Deferreds.

use super::*;
use crate::twisted::defer::{Deferred, fail, succeed};
use crate::twisted::gather::gather_results;
use crate::twisted::inline::inline_callbacks;

#[test]
fn inline_callbacks_awaits_one_deferred_after_the_other() {
    let (first, a) = Deferred::<i32>::new();
    let (second, b) = Deferred::<i32>::new();
    let log = Log::default();
    let steps = log.clone();
    let sum = inline_callbacks(async move {
        steps.note("begun");
        let a = a.await?;
        steps.note(a);
        let b = b.await?;
        Ok(a + b)
    });
    assert_eq!(log.taken(), ["begun"]);
    first.callback(1);
    assert_eq!(log.taken(), ["1"]);
    second.callback(2);
    assert_eq!(result_of(sum), "3");
}

#[test]
fn inline_callbacks_gets_an_error_where_it_awaits_and_may_handle_it() {
    let handled = inline_callbacks(async {
        let result = fail::<i32>(error("broken")).await;
        Ok(format!("handled: {}", result.unwrap_err()))
    });
    assert_eq!(result_of(handled), "handled: broken");
    let not_handled = inline_callbacks(async {
        fail::<i32>(error("broken")).await?;
        Ok(1)
    });
    assert_eq!(result_of(not_handled), "failed: broken");
}

#[test]
fn inline_callbacks_that_panics_fails() {
    let panics = inline_callbacks::<i32>(async {
        succeed(()).await?;
        panic!("on purpose")
    });
    assert_eq!(result_of(panics), "failed: panicked: on purpose");
}

#[test]
fn cancelling_inline_callbacks_cancels_what_it_awaits_and_it_may_go_on() {
    let log = Log::default();
    let cancelled = log.clone();
    let (resolver, waits) = Deferred::<i32>::new();
    let waits = waits.with_canceller(move || cancelled.note("canceller called"));
    let deferred = inline_callbacks(async move {
        let failure = waits.await.unwrap_err();
        succeed(()).await?; // cleaning up
        Ok(format!("went on after: {failure}"))
    });
    deferred.cancel();
    assert_eq!(log.taken(), ["canceller called"]);
    assert_eq!(result_of(deferred), "went on after: cancelled");
    drop(resolver);
}

#[test]
fn inline_callbacks_may_await_several_at_once() {
    let (first, a) = Deferred::<i32>::new();
    let (second, b) = Deferred::<i32>::new();
    let both = inline_callbacks(async move {
        let values = gather_results(vec![a, b]).await?;
        Ok(format!("{values:?}"))
    });
    second.callback(2);
    first.callback(1);
    assert_eq!(result_of(both), "[1, 2]");
}
