//! `gevent.pool`: a `Group` of greenlets that are joined or killed together, and a `Pool`, which
//! is a group with room for so many at a time.

use std::collections::BTreeMap;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::gevent::event::{Waiters, wait_in};
use crate::gevent::greenlet::{Greenlet, joinall, spawn};
use crate::gevent::hub::{Life, locked};
use crate::gevent::queue::Queue;

/// Greenlets that belong together. Clones share it.
#[derive(Clone, Default)]
pub struct Group(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    /// Each with what is needed to kill it, once it is spawned.
    living: BTreeMap<u64, Option<Arc<Life>>>,
    spawned: u64,
    /// Wait for one to finish.
    waiting: Waiters,
}

impl Group {
    pub fn new() -> Group {
        Group::default()
    }

    /// Spawns a greenlet into the group; it leaves it when it finishes.
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let number = locked(&self.0, |members| {
            members.spawned += 1;
            members.living.insert(members.spawned, None);
            members.spawned
        });
        // Goes with `f`, also when that is killed before it starts.
        let member = Member { group: self.clone(), number };
        let greenlet = spawn(move || {
            let _member = member;
            f()
        });
        locked(&self.0, |members| {
            if let Some(life) = members.living.get_mut(&number) {
                *life = Some(greenlet.life());
            }
        });
        greenlet
    }

    /// How many of them live.
    pub fn len(&self) -> usize {
        locked(&self.0, |members| members.living.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until all have finished. A kill unwinds, and leaves them running.
    pub fn join(&self) {
        self.wait_for(|members| members.living.is_empty());
    }

    /// Kills all that live, and waits for their end.
    pub fn kill(&self) {
        let living = locked(&self.0, |members| members.living.clone());
        for life in living.into_values().flatten() {
            life.kill();
        }
        self.join();
    }

    fn wait_for(&self, ready: fn(&Members) -> bool) {
        let ready = |members: &mut Members| ready(members).then_some(());
        wait_in(&self.0, |members| &mut members.waiting, None, ready);
    }
}

struct Member {
    group: Group,
    number: u64,
}

impl Drop for Member {
    fn drop(&mut self) {
        locked(&self.group.0, |members| {
            members.living.remove(&self.number);
            members.waiting.wake_all();
        });
    }
}

/// A group in which so many live at a time at most. Clones share it.
#[derive(Clone)]
pub struct Pool {
    group: Group,
    /// One item for each that may live: who spawns takes one out.
    room: Queue<()>,
}

impl Pool {
    /// Room for `size` greenlets, at least one.
    pub fn new(size: usize) -> Pool {
        let room = Queue::new();
        (0..size.max(1)).for_each(|_| room.put(()));
        Pool { group: Group::new(), room }
    }

    /// Spawns a greenlet, as soon as there is room. A kill unwinds.
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.room.get();
        let place = Place(self.room.clone());
        self.group.spawn(move || {
            let _place = place;
            f()
        })
    }

    /// How many more would not have to wait.
    pub fn free_count(&self) -> usize {
        self.room.len()
    }

    /// Runs `f` on every item and gives the results in the order of the items.
    ///
    /// # Errors
    ///
    /// What the first item's greenlet ended with that did not return.
    pub fn map<I, T, F>(&self, items: I, f: F) -> thread::Result<Vec<T>>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let f = Arc::new(f);
        let mut tasks = Vec::new();
        for item in items {
            let f = Arc::clone(&f);
            tasks.push(self.spawn(move || f(item)));
        }
        tasks.into_iter().map(Greenlet::join).collect()
    }

    /// Runs `f` on every item and gives the results as they come.
    /// With nobody left to take them, no more are started.
    pub fn imap_unordered<I, T, F>(
        &self,
        items: I,
        f: F,
    ) -> impl Iterator<Item = thread::Result<T>> + use<I, T, F>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (pool, f) = (self.clone(), Arc::new(f));
        let items = items.into_iter();
        // None says that nothing more will come.
        let results = Queue::new();
        let sink = results.clone();
        let feeder = spawn(move || {
            let mut tasks = Vec::new();
            for item in items {
                let (f, sink) = (Arc::clone(&f), sink.clone());
                tasks.push(pool.spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| f(item)));
                    sink.put(Some(result));
                }));
            }
            joinall(&tasks, None);
            sink.put(None);
        });
        let feeder = KillOnDrop(feeder);
        let next = move || {
            let _feeder = &feeder;
            results.get()
        };
        iter::from_fn(next).fuse()
    }

    /// Waits until all have finished. A kill unwinds, and leaves them running.
    pub fn join(&self) {
        self.group.join();
    }

    /// Kills all that live, and waits for their end.
    pub fn kill(&self) {
        self.group.kill();
    }
}

struct Place(Queue<()>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.put(());
    }
}

struct KillOnDrop<T>(Greenlet<T>);

impl<T> Drop for KillOnDrop<T> {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::gevent::event::Event;
    use crate::gevent::greenlet::{self, GreenletExit};
    use crate::tests::greenlets;

    #[test]
    fn a_group_is_joined_as_one() {
        let (before, done, after) = greenlets(|| {
            let (group, done) = (Group::new(), Arc::new(AtomicUsize::new(0)));
            for _ in 0..5 {
                let done = done.clone();
                group.spawn(move || {
                    greenlet::sleep(Duration::from_millis(1));
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
            let before = group.len();
            group.join();
            (before, done.load(Ordering::SeqCst), group.is_empty())
        });
        assert_eq!((before, done, after), (5, 5, true));
    }

    #[test]
    fn a_group_is_killed_as_one_started_or_not() {
        let errors = greenlets(|| {
            let group = Group::new();
            let started = group.spawn(|| Event::new().wait());
            greenlet::sleep(Duration::ZERO);
            let not_started = group.spawn(|| Event::new().wait());
            group.kill();
            assert!(group.is_empty());
            [started.join(), not_started.join()]
        });
        assert!(errors.into_iter().all(|error| error.unwrap_err().is::<GreenletExit>()));
    }

    #[test]
    fn a_pool_runs_so_many_at_a_time() {
        let most = greenlets(|| {
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let pool = Pool::new(3);
            let work = {
                let most = most.clone();
                move |_| {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    greenlet::sleep(Duration::ZERO);
                    now.fetch_sub(1, Ordering::SeqCst);
                }
            };
            pool.map(0..20, work).unwrap();
            assert_eq!(pool.free_count(), 3);
            most.load(Ordering::SeqCst)
        });
        assert_eq!(most, 3);
    }

    #[test]
    fn map_keeps_the_order_and_reports_a_panic() {
        let (good, bad) = greenlets(|| {
            let pool = Pool::new(2);
            let good = pool.map([3, 1, 2], |n| {
                greenlet::sleep(Duration::from_millis(n));
                n
            });
            let quiet_panic = |n| {
                if n == 2 {
                    std::panic::resume_unwind(Box::new("two"))
                }
            };
            (good.unwrap(), pool.map(1..4, quiet_panic))
        });
        assert_eq!(good, [3, 1, 2]);
        assert_eq!(bad.unwrap_err().downcast_ref(), Some(&"two"));
    }

    #[test]
    fn imap_unordered_gives_what_is_there_first() {
        let order: Vec<usize> = greenlets(|| {
            let gates = [(); 3].map(|()| Event::new());
            gates[2].set();
            let theirs = gates.clone();
            let mut results = Pool::new(3).imap_unordered(0..3, move |n| {
                theirs[n].wait();
                n
            });
            let mut order = vec![results.next().unwrap().unwrap()];
            gates[0].set();
            order.push(results.next().unwrap().unwrap());
            gates[1].set();
            order.extend(results.map(Result::unwrap));
            order
        });
        assert_eq!(order, [2, 0, 1]);
    }

    #[test]
    fn nothing_is_started_for_a_consumer_that_is_gone() {
        let started = greenlets(|| {
            let started = Arc::new(AtomicUsize::new(0));
            let count = started.clone();
            let mut results =
                Pool::new(1).imap_unordered(0..100, move |_| count.fetch_add(1, Ordering::SeqCst));
            results.next().unwrap().unwrap();
            drop(results);
            for _ in 0..10 {
                greenlet::sleep(Duration::ZERO);
            }
            started.load(Ordering::SeqCst)
        });
        assert!(started < 10, "{started} were started");
    }
}
