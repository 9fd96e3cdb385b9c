//! Firing and cancelling inside a callback or an `async` block gives the same result as outside.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::*;
use crate::twisted::defer::{Deferred, Resolver, succeed};
use crate::twisted::gather::{deferred_list, gather_results, race};
use crate::twisted::inline::inline_callbacks;
use crate::twisted::locks::DeferredQueue;

/// Runs `script` by itself, inside a callback and inside an `async` block.
fn everywhere(script: fn() -> Deferred<String>) -> [String; 3] {
    let outside = result_of(script());
    let in_a_callback = result_of(succeed(()).add_callback(move |()| script()));
    let in_a_block = result_of(inline_callbacks(async move { script().await }));
    [outside, in_a_callback, in_a_block]
}

#[track_caller]
fn same_everywhere(script: fn() -> Deferred<String>, expected: &str) {
    assert_eq!(everywhere(script), [expected; 3]);
}

#[test]
fn a_result_is_not_lost_to_a_cancellation_that_comes_after_it() {
    let script = || {
        let (resolver, deferred) = Deferred::new();
        let chain = deferred.add_callback(|n: i32| Ok(format!("{}", n + 1)));
        resolver.callback(1);
        chain.cancel();
        chain
    };
    same_everywhere(script, "2");
}

#[test]
fn a_result_that_comes_after_a_cancellation_is_ignored() {
    let script = || {
        let (resolver, deferred) = Deferred::new();
        let chain = deferred.add_callback(|n: i32| Ok(format!("{}", n + 1)));
        chain.cancel();
        resolver.callback(1);
        chain
    };
    same_everywhere(script, "failed: cancelled");
}

#[test]
fn a_cancellation_reaches_the_deferred_that_a_callback_has_just_returned() {
    let script = || {
        let (resolver, deferred) = Deferred::new();
        let (inner, waited_for) = Deferred::<String>::new();
        let waited_for = waited_for.with_canceller(move || inner.callback("the inner".into()));
        let chain = deferred.add_callback(move |()| waited_for);
        resolver.callback(());
        chain.cancel();
        chain
    };
    same_everywhere(script, "the inner");
}

#[test]
fn a_worker_that_is_cancelled_handles_the_last_item_and_then_the_cancellation() {
    let script = || {
        let (queue, log) = (DeferredQueue::new(), Log::default());
        let (taken, seen) = (queue.clone(), log.clone());
        let worker = inline_callbacks::<()>(async move {
            loop {
                match taken.get().await {
                    Ok(item) => seen.note(item),
                    Err(failure) => {
                        seen.note(&failure);
                        return Err(failure);
                    }
                }
            }
        });
        queue.put("first").expect("it has no limit");
        queue.put("last").expect("it has no limit");
        worker.cancel();
        worker.add_both(move |result| Ok(format!("{:?} {}", log.taken(), result.is_err())))
    };
    same_everywhere(script, r#"["first", "last", "cancelled"] true"#);
}

fn three() -> (Vec<Resolver<i32>>, Vec<Deferred<i32>>) {
    (0..3).map(|_| Deferred::new()).unzip()
}

#[test]
fn cancelling_a_list_keeps_what_has_come() {
    let script = || {
        let (mut resolvers, deferreds) = three();
        let list = deferred_list(deferreds).add_callback(|results| Ok(format!("{results:?}")));
        resolvers.remove(0).callback(1);
        list.cancel();
        list
    };
    same_everywhere(script, "[Ok(1), Err(CancelledError), Err(CancelledError)]");
}

#[test]
fn cancelling_a_gathering_that_is_complete_or_has_failed_changes_nothing() {
    let complete = || {
        let (resolvers, deferreds) = three();
        let all = gather_results(deferreds).add_callback(|values| Ok(format!("{values:?}")));
        for resolver in resolvers {
            resolver.callback(1);
        }
        all.cancel();
        all
    };
    same_everywhere(complete, "[1, 1, 1]");
    let failed = || {
        let (mut resolvers, deferreds) = three();
        let all = gather_results(deferreds).add_callback(|values| Ok(format!("{values:?}")));
        resolvers.remove(0).errback(error("first"));
        all.cancel();
        all
    };
    same_everywhere(failed, "failed: first");
}

#[test]
fn cancelling_a_race_that_is_won_changes_nothing() {
    let script = || {
        let (mut resolvers, deferreds) = three();
        let winner = race(deferreds).add_callback(|won| Ok(format!("{won:?}")));
        resolvers.remove(1).callback(7);
        winner.cancel();
        winner
    };
    same_everywhere(script, "(1, 7)");
}

#[test]
fn a_canceller_may_fire_its_deferred_through_another_one() {
    let script = || {
        let (resolver, deferred) = Deferred::<String>::new();
        let (detour, other) = Deferred::<()>::new();
        drop(other.add_callback(move |()| resolver.callback("so far".into())));
        let deferred = deferred.with_canceller(move || detour.callback(()));
        deferred.cancel();
        deferred
    };
    same_everywhere(script, "so far");
}

#[test]
fn inline_callbacks_runs_at_once_up_to_its_first_await() {
    let script = || {
        let log = Log::default();
        let noted = log.clone();
        let (resolver, deferred) = Deferred::<()>::new();
        let block = inline_callbacks(async move {
            noted.note("begun");
            deferred.await
        });
        let taken = log.taken();
        resolver.callback(());
        block.add_callback(move |()| Ok(format!("{taken:?}")))
    };
    same_everywhere(script, r#"["begun"]"#);
}

#[test]
fn two_deferreds_fired_in_one_callback_both_resume_a_block_that_awaits_both() {
    /// Awaits both at the same time.
    async fn both(a: Deferred<i32>, b: Deferred<i32>) -> Result<String, Failure> {
        let (mut a, mut b) = (Box::pin(a), Box::pin(b));
        let (mut first, mut second) = (None, None);
        std::future::poll_fn(|context| {
            for (deferred, result) in [(&mut a, &mut first), (&mut b, &mut second)] {
                if result.is_none()
                    && let std::task::Poll::Ready(value) = deferred.as_mut().poll(context)
                {
                    *result = Some(value);
                }
            }
            if first.is_some() && second.is_some() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        Ok(format!("{first:?} {second:?}"))
    }

    let script = || {
        let (first, a) = Deferred::new();
        let (second, b) = Deferred::new();
        let block = inline_callbacks(both(a, b));
        first.callback(1);
        second.callback(2);
        block
    };
    same_everywhere(script, "Some(Ok(1)) Some(Ok(2))");
}

#[test]
fn a_block_that_cancels_itself_sees_it_at_its_next_await() {
    let itself = Rc::new(RefCell::new(None::<Deferred<String>>));
    let (start, started) = Deferred::<()>::new();
    let (own, log) = (itself.clone(), Log::default());
    let noted = log.clone();
    let (_never, waits) = Deferred::<()>::new();
    let block = inline_callbacks(async move {
        started.await?;
        own.borrow().as_ref().expect("it was put there").cancel();
        noted.note("goes on");
        let failure = waits.await.unwrap_err();
        noted.note(failure);
        Ok("ended".to_string())
    });
    *itself.borrow_mut() = Some(block);
    start.callback(());
    assert_eq!(log.taken(), ["goes on", "cancelled"]);
    let block = itself.take().expect("it was put there");
    assert_eq!(result_of(block), "ended");
}

#[test]
fn a_queue_loses_nothing_to_waiters_that_cancel_each_other() {
    let (queue, log) = (DeferredQueue::new(), Log::default());
    let second: Rc<RefCell<Option<Deferred<()>>>> = Rc::default();
    let (cancels, noted) = (second.clone(), log.clone());
    let first = queue.get().add_callback(move |item: i32| {
        noted.note(item);
        cancels.borrow().as_ref().expect("it waits").cancel();
    });
    let noted = log.clone();
    let waiting = queue.get().add_callback(move |item: i32| noted.note(item));
    *second.borrow_mut() = Some(waiting);
    let both = queue.clone();
    drop(succeed(()).add_callback(move |()| {
        both.put(1)?;
        both.put(2)?;
        Ok(())
    }));
    assert_eq!(log.taken(), ["1", "2"]);
    drop(first);
}

#[test]
fn an_observer_that_panics_does_not_stop_other_callbacks() {
    let _observing = observe_unhandled(|_| panic!("on purpose"));
    let ran = Rc::new(Cell::new(false));
    let seen = ran.clone();
    let (lost, dropped) = Deferred::<()>::new();
    let (found, kept) = Deferred::<()>::new();
    drop(dropped.add_callback(|()| ()));
    let chain = kept.add_callback(move |()| seen.set(true));
    drop(succeed(()).add_callback(move |()| {
        lost.errback(error("lost"));
        found.callback(());
    }));
    assert!(ran.get());
    assert_eq!(result_of(chain.add_callback(|()| Ok("goes on"))), "goes on");
}

#[test]
fn a_destructor_that_panics_leaves_no_callback_behind() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "on purpose");
        }
    }

    let ran = Rc::new(Cell::new(false));
    let seen = ran.clone();
    let (first, bomb) = Deferred::<Bomb>::new();
    let (second, deferred) = Deferred::<()>::new();
    drop(bomb); // the value is dropped as it comes
    drop(deferred.add_callback(move |()| seen.set(true)));
    let both = succeed(()).add_callback(move |()| {
        second.callback(());
        first.callback(Bomb);
    });
    assert_eq!(result_of(both.add_both(|result| Ok(result.is_err()))), "true");
    assert!(ran.get());
}
