//! Tasks that share a clock, step by step.

use std::time::Duration;

use super::*;
use crate::twisted::clock::Clock;
use crate::twisted::cooperator::Cooperator;
use crate::twisted::defer::{Deferred, succeed};
use crate::twisted::failure::CancelledError;

fn letters(name: char, n: usize, log: &Log) -> impl Iterator<Item = ()> + use<> {
    let log = log.clone();
    (0..n).map(move |_| log.note(name))
}

#[test]
fn cooperating_tasks_take_steps_in_turn_and_the_clock_has_its_turn_between() {
    let (clock, log) = (Clock::new(), Log::default());
    let cooperator = Cooperator::with_slice(&clock, Duration::ZERO);
    watch(cooperator.coiterate(letters('a', 3, &log)), &log);
    watch(cooperator.coiterate(letters('b', 2, &log)), &log);
    let timer = log.clone();
    clock.call_later(Duration::ZERO, move || timer.note("timer"));
    clock.advance(Duration::ZERO);
    assert_eq!(log.taken(), ["a", "timer", "b", "a", "b", "a", "done", "done"]);
    assert_eq!(clock.next(), None);
}

#[test]
fn a_cooperating_task_waits_for_the_deferred_of_its_step() {
    let (clock, log) = (Clock::new(), Log::default());
    let cooperator = Cooperator::new(&clock);
    let (resolver, deferred) = Deferred::<()>::new();
    let steps = log.clone();
    let waits = vec![deferred, succeed(())].into_iter().inspect(move |_| steps.note("step"));
    watch(cooperator.coiterate(waits), &log);
    drop(cooperator); // the tasks keep it
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["step"]);
    resolver.callback(());
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["step", "done"]);
}

#[test]
fn a_cooperating_task_can_be_paused_resumed_and_stopped() {
    let (clock, log) = (Clock::new(), Log::default());
    let cooperator = Cooperator::with_slice(&clock, Duration::ZERO);
    let forever = log.clone();
    let task = cooperator.cooperate((1..).map(move |n| forever.note(n)).take(4));
    task.pause();
    clock.advance(SECOND);
    assert!(log.taken().is_empty());
    task.resume();
    task.pause();
    task.resume(); // in the queue once, not twice
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["1", "2", "3", "4"]);

    let stopped = cooperator.cooperate(letters('x', 5, &log));
    stopped.stop();
    watch(stopped.when_done(), &log);
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["failed: cancelled"]);
}

#[test]
fn a_step_that_fails_or_panics_ends_its_own_task() {
    let (clock, log) = (Clock::new(), Log::default());
    let cooperator = Cooperator::new(&clock);
    watch(cooperator.coiterate([Err::<(), _>(CancelledError.into())]), &log);
    watch(cooperator.coiterate((0..1).map(|n| assert!(n > 0, "on purpose"))), &log);
    watch(cooperator.coiterate(letters('a', 1, &log)), &log);
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["failed: cancelled", "failed: panicked: on purpose", "a", "done"]);
}

#[test]
fn when_done_can_be_called_many_times_and_does_not_consume_the_task() {
    let (clock, log) = (Clock::new(), Log::default());
    let task = Cooperator::new(&clock).cooperate(letters('a', 2, &log));
    watch(task.when_done(), &log);
    let cancelled = task.when_done();
    cancelled.cancel();
    watch(cancelled, &log);
    assert_eq!(log.taken(), ["failed: cancelled"], "the task goes on");
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["a", "a", "done"]);
    watch(task.when_done(), &log);
    task.stop();
    watch(task.when_done(), &log);
    assert_eq!(log.taken(), ["done", "done"]);
}

#[test]
fn cancelling_coiterate_stops_the_task() {
    let (clock, log) = (Clock::new(), Log::default());
    let done = Cooperator::new(&clock).coiterate(letters('a', 2, &log));
    done.cancel();
    watch(done, &log);
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["failed: cancelled"]);
}

#[test]
fn a_task_that_is_stopped_while_its_step_waits_does_not_go_on() {
    let (clock, log) = (Clock::new(), Log::default());
    let (resolver, deferred) = Deferred::<()>::new();
    let steps = log.clone();
    let waits = vec![deferred, succeed(())].into_iter().inspect(move |_| steps.note("step"));
    let task = Cooperator::new(&clock).cooperate(waits);
    clock.advance(SECOND);
    task.stop();
    resolver.callback(());
    clock.advance(SECOND);
    watch(task.when_done(), &log);
    assert_eq!(log.taken(), ["step", "failed: cancelled"]);
}
