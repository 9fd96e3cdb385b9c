//! Several Deferreds as one.

use super::*;
use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::gather::{deferred_list, gather_results, race};

fn three() -> (Vec<Resolver<i32>>, Vec<Deferred<i32>>) {
    (0..3).map(|_| Deferred::new()).unzip()
}

#[test]
fn deferred_list_waits_for_all_and_gives_every_result() {
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
fn race_fails_with_all_errors_if_all_fail() {
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
