//! `gevent.queue.Queue`: first in, first out. A put into a full bounded queue waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::gevent::line::{Waiters, wait_in};
use crate::gevent::timeout::from_now;
use crate::gevent::waiter::locked;

/// A queue between greenlets (and OS threads). Clones share it.
pub struct Queue<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    items: VecDeque<T>,
    /// The maximum number of items; gevent's `maxsize`.
    bound: usize,
    getting: Waiters,
    putting: Waiters,
    /// Items that were put and not yet marked with `task_done`.
    unfinished: usize,
    joining: Waiters,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue(Arc::clone(&self.0))
    }
}

impl<T> Queue<T> {
    /// Holds any number of items.
    pub fn new() -> Queue<T> {
        Queue::bounded(usize::MAX)
    }

    /// Holds `bound` items; 0 means any number, as in gevent.
    pub fn bounded(bound: usize) -> Queue<T> {
        let bound = if bound == 0 { usize::MAX } else { bound };
        Queue(Arc::new(Mutex::new(State {
            items: VecDeque::new(),
            bound,
            getting: Waiters::default(),
            putting: Waiters::default(),
            unfinished: 0,
            joining: Waiters::default(),
        })))
    }

    /// Puts an item at the end, as soon as there is room. A kill unwinds.
    pub fn put(&self, item: T) {
        let mut item = Some(item);
        let put = |state: &mut State<T>| state.put(&mut item);
        let room = wait_in(&self.0, |state| &mut state.putting, None, put);
        debug_assert!(room.is_some(), "a wait without end ends with room");
    }

    /// `put_nowait`: gives the item back when there is no room.
    ///
    /// # Errors
    ///
    /// The item, when the queue is full.
    pub fn try_put(&self, item: T) -> Result<(), T> {
        let mut item = Some(item);
        locked(&self.0, |state| state.put(&mut item));
        item.map_or(Ok(()), Err)
    }

    /// Takes the first item, as soon as there is one. A kill unwinds.
    pub fn get(&self) -> T {
        self.get_until(None).expect("a wait without end ends with an item")
    }

    /// Like `get`; `None` if the timeout expires first.
    pub fn get_timeout(&self, timeout: Duration) -> Option<T> {
        self.get_until(from_now(Some(timeout)))
    }

    fn get_until(&self, until: Option<Instant>) -> Option<T> {
        wait_in(&self.0, |state| &mut state.getting, until, State::get)
    }

    /// `get_nowait`: `None` if the queue is empty.
    pub fn try_get(&self) -> Option<T> {
        locked(&self.0, State::get)
    }

    /// How many items are in it now; gevent's `qsize`.
    pub fn len(&self) -> usize {
        locked(&self.0, |state| state.items.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that the work on one taken item is done: `JoinableQueue.task_done`.
    ///
    /// # Panics
    ///
    /// If it is called more often than there were items; gevent raises a `ValueError` then.
    #[track_caller]
    pub fn task_done(&self) {
        let counted = locked(&self.0, |state| {
            state.unfinished = state.unfinished.checked_sub(1)?;
            if state.unfinished == 0 {
                state.joining.wake_all();
            }
            Some(())
        });
        assert!(counted.is_some(), "task_done was called more often than there were items");
    }

    /// Waits until the work on every item is done: `JoinableQueue.join`. A kill unwinds.
    pub fn join(&self) {
        let done = |state: &mut State<T>| (state.unfinished == 0).then_some(());
        wait_in(&self.0, |state| &mut state.joining, None, done);
    }
}

impl<T> State<T> {
    fn put(&mut self, item: &mut Option<T>) -> Option<()> {
        if self.items.len() == self.bound {
            return None;
        }
        self.items.push_back(item.take()?);
        self.unfinished += 1;
        self.getting.wake_one();
        Some(())
    }

    fn get(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.putting.wake_one();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gevent::greenlet::spawn;
    use crate::gevent::timeout::{self, GreenletExit};
    use crate::tests::greenlets;

    #[test]
    fn items_come_out_in_the_order_they_were_put() {
        let out = greenlets(|| {
            let queue = Queue::new();
            let theirs = queue.clone();
            let task = spawn(move || [theirs.get(), theirs.get(), theirs.get()]);
            for item in 1..=3 {
                queue.put(item);
            }
            task.join().unwrap()
        });
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn a_full_queue_makes_its_producer_wait() {
        let (most, sum) = greenlets(|| {
            let queue = Queue::bounded(2);
            let theirs = queue.clone();
            let producer = spawn(move || (1..=100).for_each(|item| theirs.put(item)));
            let (mut most, mut sum) = (0, 0);
            for _ in 0..100 {
                timeout::sleep(Duration::ZERO);
                most = most.max(queue.len());
                sum += queue.get();
            }
            producer.join().unwrap();
            (most, sum)
        });
        assert_eq!((most, sum), (2, 5050));
    }

    #[test]
    fn nothing_waits_without_waiting() {
        let queue = Queue::bounded(1);
        assert_eq!(queue.try_get(), None);
        assert_eq!(queue.try_put(1), Ok(()));
        assert_eq!(queue.try_put(2), Err(2));
        assert_eq!(queue.get_timeout(Duration::ZERO), Some(1));
        assert_eq!(queue.get_timeout(Duration::from_millis(1)), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn many_producers_and_consumers_lose_nothing() {
        let sum: usize = greenlets(|| {
            let queue = Queue::bounded(3);
            let producers = [(); 5].map(|()| {
                let queue = queue.clone();
                spawn(move || (0..200).for_each(|item| queue.put(item)))
            });
            let consumers = [(); 4].map(|()| {
                let queue = queue.clone();
                spawn(move || (0..250).map(|_| queue.get()).sum::<usize>())
            });
            for task in producers {
                task.join().unwrap();
            }
            consumers.map(|task| task.join().unwrap()).iter().sum()
        });
        assert_eq!(sum, 5 * 199 * 100);
    }

    #[test]
    fn an_os_thread_feeds_a_greenlet() {
        let sum: usize = greenlets(|| {
            let queue = Queue::bounded(1);
            let theirs = queue.clone();
            let feeder = std::thread::spawn(move || (0..500).for_each(|item| theirs.put(item)));
            let sum = (0..500).map(|_| queue.get()).sum();
            feeder.join().unwrap();
            sum
        });
        assert_eq!(sum, 499 * 250);
    }

    #[test]
    fn a_killed_consumer_takes_nothing_with_it() {
        let (error, item) = greenlets(|| {
            let queue = Queue::new();
            let (mine, theirs) = (queue.clone(), queue.clone());
            let first = spawn(move || mine.get());
            let second = spawn(move || theirs.get());
            timeout::sleep(Duration::ZERO);
            first.kill();
            queue.put(7);
            (first.join().unwrap_err(), second.join().unwrap())
        });
        assert!(error.is::<GreenletExit>());
        assert_eq!(item, 7);
    }

    #[test]
    fn join_waits_for_the_last_task_done() {
        let done = greenlets(|| {
            let queue = Queue::new();
            (0..10).for_each(|item| queue.put(item));
            let theirs = queue.clone();
            let worker = spawn(move || {
                let mut done = 0;
                while let Some(_item) = theirs.try_get() {
                    timeout::sleep(Duration::ZERO);
                    done += 1;
                    theirs.task_done();
                }
                done
            });
            queue.join();
            assert!(queue.is_empty());
            worker.join().unwrap()
        });
        assert_eq!(done, 10);
    }

    #[test]
    fn a_bound_of_0_is_none() {
        let queue = Queue::bounded(0);
        assert!((0..1_000).all(|item| queue.try_put(item).is_ok()));
    }

    #[test]
    #[should_panic = "more often than there were items"]
    fn one_task_done_too_many_is_refused() {
        let queue = Queue::new();
        queue.put(1);
        queue.task_done();
        queue.task_done();
    }
}
