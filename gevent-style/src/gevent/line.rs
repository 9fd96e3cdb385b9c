//! What event, queue, greenlet and pool are built on: a queue of waiters next to the state that
//! they wait for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::gevent::timeout;
use crate::gevent::waiter::{Waiter, locked};

/// The waiters for the same thing: first come, first served.
#[derive(Default)]
pub struct Waiters(VecDeque<Arc<Waiter>>);

impl Waiters {
    /// Wakes the first one that still waits.
    pub fn wake_one(&mut self) {
        while let Some(waiter) = self.0.pop_front() {
            if waiter.wake() {
                return;
            }
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn wake_all(&mut self) {
        for waiter in self.0.drain(..) {
            waiter.wake();
        }
    }

    fn register(&mut self) -> Arc<Waiter> {
        let waiter = Waiter::new();
        self.0.push_back(waiter.clone());
        waiter
    }

    /// Removes a waiter after its wait. A waiter that was woken but does not use it wakes the next
    /// one.
    fn remove(&mut self, waiter: &Arc<Waiter>) {
        let before = self.0.len();
        self.0.retain(|other| !Arc::ptr_eq(other, waiter));
        if self.0.len() == before {
            self.wake_one();
        }
    }
}

/// Waits until `ready` returns a value for the state. The waiter is in the list that `line`
/// selects, and `ready` is called after each wake-up. `None` if the timeout expires first. A kill
/// unwinds.
pub fn wait_in<S, R>(
    state: &Mutex<S>,
    line: fn(&mut S) -> &mut Waiters,
    until: Option<Instant>,
    mut ready: impl FnMut(&mut S) -> Option<R>,
) -> Option<R> {
    loop {
        let found = locked(state, |state| match ready(state) {
            Some(found) => Ok(found),
            None => Err(line(state).register()),
        });
        let waiter = match found {
            Ok(found) => return Some(found),
            Err(waiter) => waiter,
        };
        let mut place = Place { state, line, waiter: &waiter, unused: true };
        place.unused = !timeout::wait(&waiter, until);
        if place.unused {
            drop(place);
            // It may have come at the last moment.
            return locked(state, ready);
        }
    }
}

/// A place in the queue. It is removed if the wait ends without a wake-up.
struct Place<'a, S> {
    state: &'a Mutex<S>,
    line: fn(&mut S) -> &mut Waiters,
    waiter: &'a Arc<Waiter>,
    unused: bool,
}

impl<S> Drop for Place<'_, S> {
    fn drop(&mut self) {
        if self.unused {
            locked(self.state, |state| (self.line)(state).remove(self.waiter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_that_was_woken_and_killed_wakes_the_next_one() {
        let state = Mutex::new(Waiters::default());
        let (first, second) = locked(&state, |line| (line.register(), line.register()));
        locked(&state, Waiters::wake_one);
        locked(&state, |line| line.remove(&first));
        assert!(!second.wake(), "it has been woken already");
    }
}
