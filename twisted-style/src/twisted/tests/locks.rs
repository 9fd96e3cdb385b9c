//! Locks, semaphores and queues.

use super::*;
use crate::twisted::defer::Deferred;
use crate::twisted::failure::QueueOverflow;
use crate::twisted::locks::{DeferredLock, DeferredQueue, DeferredSemaphore};

#[test]
fn semaphore_limits_its_holders_and_keeps_the_order_of_the_others() {
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
fn lock_is_not_given_to_a_cancelled_waiter() {
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
fn lock_released_twice_panics() {
    let lock = DeferredLock::new();
    drop(lock.acquire());
    lock.release();
    lock.release();
}

#[test]
fn queue_keeps_the_order_whether_put_or_get_comes_first() {
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
fn queue_loses_no_value_to_a_cancelled_waiter() {
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
    assert_eq!(result_of(too_many), "failed: too many calls of get are waiting");
    waits.cancel();
    let takes_its_place = queue.get();
    queue.put(3).expect("a get waits");
    assert_eq!(result_of(takes_its_place), "3");
    drop(result_of(waits));
}

#[test]
#[should_panic(expected = "at least one token")]
fn a_semaphore_without_a_token_panics() {
    let _ = DeferredSemaphore::new(0);
}

#[test]
fn cancelled_waiters_do_not_stay_in_the_queue() {
    const MANY: usize = 10_000;

    let (queue, lock) = (DeferredQueue::<()>::new(), DeferredLock::new());
    let held = lock.acquire();
    let stay = [queue.get(), queue.get()];
    for _ in 0..MANY {
        for waits in [queue.get(), lock.acquire()] {
            waits.cancel();
            drop(waits.add_errback(|_| ()));
        }
    }
    let in_queue = queue.0.waiting.borrow().len();
    let in_lock = lock.0.0.waiting.borrow().len();
    assert!(in_queue < 20 && in_lock < 20, "{in_queue} and {in_lock} of {MANY} have stayed");
    for waits in stay {
        queue.put(()).expect("a get waits");
        assert_eq!(result_of(waits.add_callback(|()| Ok("served"))), "served");
    }
    drop(held);
}
