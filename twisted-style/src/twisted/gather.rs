//! Several Deferreds as one: `DeferredList`, `gatherResults`, `race` (`twisted.internet.defer`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::chain::cancel;
use super::defer::{Deferred, Resolver};
use super::failure::{CancelledError, Failure, FailureGroup};

/// Waits for all and gives their results in the order given (`defer.DeferredList`). Errors count as
/// handled, as with `consumeErrors=True`. If it is cancelled, all are.
pub fn deferred_list<T>(deferreds: Vec<Deferred<T>>) -> Deferred<Vec<Result<T, Failure>>> {
    let results = deferreds.iter().map(|_| None).collect();
    collect(deferreds, results, |collected, index, result| {
        collected.put(index, result);
    })
}

/// Waits for all: their values in the order given, or the first error that comes. Errors that
/// come after it count as handled (`gatherResults(…, consumeErrors=True)`). Cancelling it
/// cancels them all.
pub fn gather_results<T>(deferreds: Vec<Deferred<T>>) -> Deferred<Vec<T>> {
    let values = deferreds.iter().map(|_| None).collect();
    collect(deferreds, values, |collected, index, result| match result {
        Ok(value) => collected.put(index, value),
        Err(failure) => collected.fire(Err(failure)),
    })
}

/// The first value that comes, with the index of the Deferred that it came from; the others are
/// cancelled. If all fail, a [`FailureGroup`] (`defer.race`).
pub fn race<T>(deferreds: Vec<Deferred<T>>) -> Deferred<(usize, T)> {
    let (done, winner) = Deferred::new();
    let done = Rc::new(Cell::new(Some(done)));
    let runners: Rc<[_]> = deferreds.iter().map(Deferred::as_origin).collect();
    let mut failures = Vec::new();
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let (done, runners) = (done.clone(), runners.clone());
        failures.push(deferred.add_both(move |result| {
            let value = match result {
                Ok(value) => value,
                Err(failure) => return Ok(failure), // what the race is to collect
            };
            if let Some(done) = done.take() {
                done.callback((index, value));
                runners.iter().for_each(cancel);
            }
            Err(CancelledError.into()) // not all have failed
        }));
    }
    let all_failed = gather_results(failures).add_both(move |failures| {
        if let (Ok(failures), Some(done)) = (failures, done.take()) {
            done.errback(FailureGroup(failures));
        }
    });
    winner.with_canceller(move || all_failed.cancel())
}

/// The results so far of several Deferreds, for one that waits for all of them.
struct Collected<V: 'static> {
    values: RefCell<Vec<Option<V>>>,
    missing: Cell<usize>,
    done: Cell<Option<Resolver<Vec<V>>>>,
}

impl<V> Collected<V> {
    fn put(&self, index: usize, value: V) {
        self.values.borrow_mut()[index] = Some(value);
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            let values = self.values.take().into_iter().flatten().collect();
            self.fire(Ok(values));
        }
    }

    fn fire(&self, result: Result<Vec<V>, Failure>) {
        if let Some(done) = self.done.take() {
            done.fire(result);
        }
    }
}

fn collect<T, V>(
    deferreds: Vec<Deferred<T>>,
    places: Vec<Option<V>>,
    came: impl Fn(&Collected<V>, usize, Result<T, Failure>) + 'static,
) -> Deferred<Vec<V>> {
    let (done, all) = Deferred::new();
    if deferreds.is_empty() {
        done.callback(Vec::new());
        return all;
    }
    let shared = Rc::new((
        Collected {
            values: RefCell::new(places),
            missing: Cell::new(deferreds.len()),
            done: Cell::new(Some(done)),
        },
        came,
    ));
    for (index, deferred) in deferreds.iter().enumerate() {
        let shared = shared.clone();
        let came = move |result| (shared.1)(&shared.0, index, result);
        deferred.0.when_fired(Box::new(came));
    }
    all.with_canceller(move || deferreds.iter().for_each(Deferred::cancel))
}
