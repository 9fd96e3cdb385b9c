//! What Twisted documents of a Deferred, a test a rule, named after it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::clock::Clock;

/// What a test writes down, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, words: impl ToString) {
        self.0.borrow_mut().push(words.to_string());
    }

    fn taken(&self) -> Vec<String> {
        self.0.take()
    }
}

fn error(words: &str) -> Failure {
    io::Error::other(words.to_string()).into()
}

/// The result that is there (`trial`'s `successResultOf`, `failureResultOf`), or "no result".
fn result_of<T: ToString>(deferred: Deferred<T>) -> String {
    let result = Rc::new(RefCell::new("no result".to_string()));
    let seen = result.clone();
    let rest = deferred.add_both(move |result| {
        *seen.borrow_mut() = match result {
            Ok(value) => value.to_string(),
            Err(failure) => format!("failed: {failure}"),
        };
    });
    drop(rest);
    result.take()
}

/// The unhandled errors of this thread from now on.
fn unhandled() -> (Log, Observing) {
    let log = Log::default();
    let observed = log.clone();
    let observing = observe_unhandled(move |failure| observed.note(failure));
    (log, observing)
}

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
fn an_error_passes_callbacks_by_and_a_value_passes_errbacks_by() {
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
fn an_errback_that_fails_hands_on_the_new_error() {
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
    let deferred = deferred.with_canceller(move || cancelled.note("called off"));
    deferred.cancel();
    assert_eq!(log.taken(), ["called off"]);
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
    let deferred = deferred.with_canceller(move || cancelled.note("called off"));
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
        .with_canceller(move || cancelled.note("called off"))
        .add_callback(|n| Ok(n + 1))
        .add_errback(|failure| Err(error(&format!("chain saw: {failure}"))));
    chain.cancel();
    assert_eq!(log.taken(), ["called off"]);
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
fn an_error_that_nobody_handles_is_reported_when_the_last_end_is_dropped() {
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
fn an_error_that_comes_when_nobody_looks_any_more_is_reported_as_it_comes() {
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
fn a_cancellation_that_nobody_handles_is_reported() {
    let (log, _observing) = unhandled();
    let (resolver, deferred) = Deferred::<i32>::new();
    deferred.cancel();
    drop((resolver, deferred));
    assert_eq!(log.taken(), ["cancelled"]);
}

#[test]
fn a_resolver_that_is_dropped_fires_an_error_instead_of_leaving_somebody_waiting() {
    let (log, _observing) = unhandled();
    let (resolver, deferred) = Deferred::<i32>::new();
    drop(resolver);
    assert_eq!(result_of(deferred), "failed: nobody is left to fire this Deferred");
    drop(Deferred::<i32>::new()); // nobody waited: nothing to report
    assert!(log.taken().is_empty());
}

#[test]
fn trap_hands_on_the_errors_of_other_types() {
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
        .with_canceller(move || cancelled.note("called off"))
        .add_timeout(Duration::from_secs(3), &clock);
    clock.advance(Duration::from_secs(2));
    assert!(log.taken().is_empty());
    clock.advance(Duration::from_secs(1));
    assert_eq!(log.taken(), ["called off"]);
    assert_eq!(result_of(deferred), "failed: timed out");
    drop(resolver);
}

#[test]
fn add_timeout_lets_a_result_in_time_pass_and_forgets_its_timer() {
    let clock = Clock::new();
    let (resolver, deferred) = Deferred::new();
    let deferred = deferred.add_timeout(Duration::from_secs(3), &clock);
    resolver.callback(1);
    assert_eq!(clock.next(), None);
    assert_eq!(result_of(deferred), "1");
}

#[test]
fn add_timeout_does_not_rename_a_cancellation_by_somebody_else() {
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

fn three() -> (Vec<Resolver<i32>>, Vec<Deferred<i32>>) {
    (0..3).map(|_| Deferred::new()).unzip()
}

#[test]
fn deferred_list_waits_for_all_and_tells_what_each_came_to() {
    let (mut resolvers, deferreds) = three();
    let list = deferred_list(deferreds).add_callback(|results| Ok(format!("{results:?}")));
    resolvers.remove(2).callback(30);
    resolvers.remove(0).callback(10);
    resolvers.remove(0).errback(error("second"));
    assert_eq!(result_of(list), "[Ok(10), Err(Custom { kind: Other, error: \"second\" }), Ok(30)]");
}

#[test]
fn gather_results_gives_the_values_in_the_order_given() {
    let (resolvers, deferreds) = three();
    let all = gather_results(deferreds).add_callback(|values| Ok(format!("{values:?}")));
    for (value, resolver) in resolvers.into_iter().enumerate().rev() {
        resolver.callback(value as i32);
    }
    assert_eq!(result_of(all), "[0, 1, 2]");
    let none = gather_results::<i32>(Vec::new()).add_callback(|none| Ok(none.len()));
    assert_eq!(result_of(none), "0");
}

#[test]
fn gather_results_fails_with_the_first_error_and_does_not_wait() {
    let (log, _observing) = unhandled();
    let (mut resolvers, deferreds) = three();
    let all = gather_results(deferreds).add_callback(|values| Ok(values.len()));
    resolvers.remove(1).errback(error("first"));
    assert_eq!(result_of(all), "failed: first");
    resolvers.remove(0).errback(error("second"));
    resolvers.remove(0).callback(1);
    assert!(log.taken().is_empty(), "consumeErrors");
}

#[test]
fn cancelling_a_gathering_cancels_them_all() {
    let log = Log::default();
    let (resolvers, deferreds) = three();
    let deferreds = deferreds.into_iter().enumerate().map(|(n, deferred)| {
        let log = log.clone();
        deferred.with_canceller(move || log.note(n))
    });
    let all = gather_results(deferreds.collect()).add_callback(|values| Ok(values.len()));
    all.cancel();
    assert_eq!(log.taken(), ["0", "1", "2"]);
    assert_eq!(result_of(all), "failed: cancelled");
    drop(resolvers);
}

#[test]
fn race_gives_the_first_value_and_cancels_the_others() {
    let log = Log::default();
    let (mut resolvers, deferreds) = three();
    let deferreds = deferreds.into_iter().enumerate().map(|(n, deferred)| {
        let log = log.clone();
        deferred.with_canceller(move || log.note(n))
    });
    let winner = race(deferreds.collect()).add_callback(|won| Ok(format!("{won:?}")));
    resolvers.remove(0).errback(error("out of the race"));
    resolvers.remove(1).callback(30);
    assert_eq!(log.taken(), ["1"]);
    assert_eq!(result_of(winner), "(2, 30)");
}

#[test]
fn race_that_nobody_wins_tells_why() {
    let (resolvers, deferreds) = three();
    let winner = race(deferreds).add_callback(|(index, _)| Ok(index));
    for (n, resolver) in resolvers.into_iter().enumerate() {
        resolver.errback(error(&n.to_string()));
    }
    assert_eq!(result_of(winner), "failed: all failed: 0; 1; 2");
}

#[test]
fn cancelling_a_race_cancels_every_runner() {
    let (resolvers, deferreds) = three();
    let winner = race(deferreds).add_callback(|(index, _)| Ok(index));
    winner.cancel();
    assert!(resolvers.iter().all(|resolver| !resolver.0.is_pending()));
    assert_eq!(result_of(winner), "failed: all failed: cancelled; cancelled; cancelled");
}

#[test]
fn semaphore_lets_so_many_in_and_the_others_in_their_order() {
    let semaphore = DeferredSemaphore::new(2);
    let log = Log::default();
    let mut ends = Vec::new();
    let mut chains = Vec::new();
    for n in 0..4 {
        let (end, work) = Deferred::<()>::new();
        ends.push(end);
        let log = log.clone();
        chains.push(semaphore.run(move || {
            log.note(n);
            work
        }));
    }
    assert_eq!(log.taken(), ["0", "1"]);
    ends.remove(1).callback(());
    assert_eq!(log.taken(), ["2"]);
    ends.remove(0).errback(error("also gives its token back"));
    assert_eq!(log.taken(), ["3"]);
    drop(ends);
    for chain in chains {
        drop(chain.add_errback(|_| Ok(())));
    }
}

#[test]
fn lock_is_not_handed_to_one_who_has_cancelled() {
    let lock = DeferredLock::new();
    let log = Log::default();
    let noted = |n: i32| {
        let log = log.clone();
        move |()| log.note(n)
    };
    let first = lock.acquire().add_callback(noted(1));
    let second = lock.acquire().add_callback(noted(2));
    let third = lock.acquire().add_callback(noted(3));
    second.cancel();
    lock.release();
    assert_eq!(log.taken(), ["1", "3"]);
    assert_eq!(result_of(second.add_both(|r| Ok(r.is_err()))), "true");
    drop((first, third));
}

#[test]
#[should_panic(expected = "released more often than acquired")]
fn lock_released_twice_is_a_mistake_that_is_told() {
    let lock = DeferredLock::new();
    drop(lock.acquire());
    lock.release();
    lock.release();
}

#[test]
fn queue_hands_over_in_order_whoever_comes_first() {
    let queue = DeferredQueue::new();
    let early = queue.get();
    let second = queue.get();
    for n in 1..=3 {
        queue.put(n).expect("it has no limit");
    }
    assert_eq!(result_of(early), "1");
    assert_eq!(result_of(second), "2");
    assert_eq!(result_of(queue.get()), "3");
}

#[test]
fn queue_loses_no_value_to_one_who_has_cancelled() {
    let queue = DeferredQueue::new();
    let cancelled = queue.get();
    cancelled.cancel();
    queue.put(1).expect("it has no limit");
    assert_eq!(result_of(queue.get()), "1");
    assert_eq!(result_of(cancelled), "failed: cancelled");
}

#[test]
fn queue_has_its_limits() {
    let queue = DeferredQueue::bounded(1, 1);
    assert_eq!(queue.put(1), Ok(()));
    assert_eq!(queue.put(2), Err(QueueOverflow));
    assert_eq!(result_of(queue.get()), "1");
    let waits = queue.get();
    let too_many = queue.get();
    assert_eq!(result_of(too_many), "failed: too many are waiting for this queue");
    waits.cancel();
    let takes_its_place = queue.get();
    queue.put(3).expect("somebody waits");
    assert_eq!(result_of(takes_its_place), "3");
    drop(result_of(waits));
}

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
    let waits = waits.with_canceller(move || cancelled.note("called off"));
    let deferred = inline_callbacks(async move {
        let failure = waits.await.unwrap_err();
        succeed(()).await?; // cleaning up
        Ok(format!("went on after: {failure}"))
    });
    deferred.cancel();
    assert_eq!(log.taken(), ["called off"]);
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

/// Tests run on threads with a stack of 2 MiB: a call for each link would need more than that.
mod the_stack_does_not_grow {
    use super::*;

    #[test]
    fn with_a_chain_of_a_million_callbacks() {
        let (resolver, mut deferred) = Deferred::new();
        for _ in 0..1_000_000 {
            deferred = deferred.add_callback(|n| Ok(n + 1));
        }
        resolver.callback(0);
        assert_eq!(result_of(deferred), "1000000");
    }

    #[test]
    fn with_a_chain_of_a_million_that_is_dropped_before_it_fires() {
        let (resolver, mut deferred) = Deferred::new();
        for _ in 0..1_000_000 {
            deferred = deferred.add_callback(|n: i32| Ok(n + 1));
        }
        drop(deferred);
        drop(resolver);
    }

    #[test]
    fn with_a_chain_of_a_million_that_is_cancelled_at_its_end() {
        let (resolver, mut deferred) = Deferred::new();
        for _ in 0..1_000_000 {
            deferred = deferred.add_callback(|n: i32| Ok(n + 1));
        }
        deferred.cancel();
        assert_eq!(result_of(deferred), "failed: cancelled");
        drop(resolver);
    }

    #[test]
    fn with_deferreds_that_return_deferreds_100_000_deep() {
        fn deeper(level: i32) -> Deferred<i32> {
            succeed(level).add_callback(|level| {
                if level == 100_000 { succeed(level) } else { deeper(level + 1) }
            })
        }
        assert_eq!(result_of(deeper(0)), "100000");
    }

    #[test]
    fn with_a_tower_of_100_000_deferreds_each_waiting_for_the_next() {
        let (resolver, mut deferred) = Deferred::new();
        for _ in 0..100_000 {
            let below = deferred;
            deferred = succeed(()).add_callback(move |()| below);
        }
        resolver.callback(1);
        assert_eq!(result_of(deferred), "1");
    }

    #[test]
    fn with_a_ring_of_100_000_queues() {
        let queues: Vec<_> = (0..100_000).map(|_| DeferredQueue::new()).collect();
        let home = Rc::new(Cell::new(0));
        for n in 0..queues.len() {
            let (next, home) = (queues.get(n + 1).cloned(), home.clone());
            drop(queues[n].get().add_callback(move |token: usize| {
                match next {
                    Some(next) => next.put(token + 1)?,
                    None => home.set(token),
                }
                Ok(())
            }));
        }
        queues[0].put(1).expect("somebody waits");
        assert_eq!(home.get(), 100_000);
    }

    #[test]
    fn with_an_async_block_that_awaits_a_million_times() {
        let queue = DeferredQueue::new();
        let taken = queue.clone();
        let sum = inline_callbacks(async move {
            let mut sum = 0_u64;
            for _ in 0..1_000_000 {
                sum += taken.get().await?;
            }
            Ok(sum)
        });
        for _ in 0..1_000_000 {
            queue.put(1).expect("it has no limit");
        }
        assert_eq!(result_of(sum), "1000000");
    }
}

#[test]
fn what_both_ends_share_is_small() {
    assert!(size_of::<Core<()>>() <= 40, "56 bytes with its counts");
}
