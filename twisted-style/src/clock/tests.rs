//! Time by hand: these tests say when it passes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::deferred::{CancelledError, succeed};

const SECOND: Duration = Duration::from_secs(1);

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

/// What a Deferred came to is written down when it comes.
fn watch(deferred: Deferred<()>, log: &Log) {
    let log = log.clone();
    drop(deferred.add_both(move |result| match result {
        Ok(()) => log.note("done"),
        Err(failure) => log.note(format!("failed: {failure}")),
    }));
}

#[test]
fn calls_are_made_in_the_order_of_their_time_and_of_being_added() {
    let (clock, log) = (Clock::new(), Log::default());
    for (delay, name) in [(3, "c"), (1, "a"), (2, "b"), (1, "a too")] {
        let log = log.clone();
        clock.call_later(delay * SECOND, move || log.note(name));
    }
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["a", "a too"]);
    clock.advance(5 * SECOND);
    assert_eq!(log.taken(), ["b", "c"]);
}

#[test]
fn a_call_that_was_cancelled_is_not_made() {
    let (clock, log) = (Clock::new(), Log::default());
    let noted = log.clone();
    let call = clock.call_later(SECOND, move || noted.note("made"));
    assert!(call.active() && call.cancel());
    assert!(!call.active() && !call.cancel());
    clock.advance(2 * SECOND);
    assert!(log.taken().is_empty());
}

#[test]
fn reset_counts_from_now() {
    let (clock, log) = (Clock::new(), Log::default());
    let noted = log.clone();
    let call = clock.call_later(2 * SECOND, move || noted.note("made"));
    clock.advance(SECOND);
    assert!(call.reset(2 * SECOND));
    clock.advance(SECOND);
    assert!(log.taken().is_empty());
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["made"]);
    assert!(!call.active() && !call.reset(SECOND));
}

#[test]
fn a_delay_beyond_all_time_is_far_and_no_panic() {
    let clock = Clock::new();
    assert!(clock.call_later(Duration::MAX, || {}).active());
}

#[test]
fn defer_later_fires_in_time_and_can_be_called_off() {
    let (clock, log) = (Clock::new(), Log::default());
    watch(clock.defer_later(SECOND), &log);
    let called_off = clock.defer_later(SECOND);
    called_off.cancel();
    watch(called_off, &log);
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["failed: cancelled", "done"]);
}

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
    clock.advance(Duration::from_millis(3500)); // somebody else took all that time
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
