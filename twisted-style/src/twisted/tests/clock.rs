//! Time set by hand: these tests decide when it passes.

use std::time::Duration;

use super::*;
use crate::twisted::clock::Clock;
use crate::twisted::defer::defer_later;

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
fn a_delay_too_long_to_add_does_not_panic() {
    let clock = Clock::new();
    assert!(clock.call_later(Duration::MAX, || {}).active());
}

#[test]
fn defer_later_fires_in_time_and_can_be_cancelled() {
    let (clock, log) = (Clock::new(), Log::default());
    watch(defer_later(&clock, SECOND), &log);
    let called_off = defer_later(&clock, SECOND);
    called_off.cancel();
    watch(called_off, &log);
    clock.advance(SECOND);
    assert_eq!(log.taken(), ["failed: cancelled", "done"]);
}
