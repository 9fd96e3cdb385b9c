//! `gevent.pool`: a `Group` of greenlets that are joined or killed together, and a `Pool`, which is
//! a group with a limit on how many run at a time.

use std::collections::BTreeMap;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::gevent::greenlet::{Greenlet, spawn};
use crate::gevent::line::{Waiters, wait_in};
use crate::gevent::queue::Queue;
use crate::gevent::waiter::{Life, locked};

/// Greenlets that belong together. Clones share it.
#[derive(Clone, Default)]
pub struct Group(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    /// Each with the handle to kill it, once it is spawned.
    living: BTreeMap<u64, Option<Arc<Life>>>,
    spawned: u64,
    /// How many `kill`s are under way: a greenlet that is spawned meanwhile does not start.
    killing: usize,
    /// The waiters for the end of a member.
    waiting: Waiters,
}

impl Group {
    pub fn new() -> Group {
        Group::default()
    }

    /// Spawns a greenlet into the group. It is removed when it finishes.
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
        // Moved into `f`, so it is dropped even if the greenlet is killed before it starts.
        let member = Member { group: self.clone(), number };
        let greenlet = spawn(move || {
            let _member = member;
            f()
        });
        locked(&self.0, |members| {
            if let Some(life) = members.living.get_mut(&number) {
                *life = Some(greenlet.life());
            }
            if members.killing > 0 {
                greenlet.kill();
            }
        });
        greenlet
    }

    /// How many of them are running.
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

    /// Kills all members, and those spawned meanwhile, and waits for their end.
    pub fn kill(&self) {
        let living = locked(&self.0, |members| {
            members.killing += 1;
            members.living.clone()
        });
        let _killing = Killing(self);
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

struct Killing<'a>(&'a Group);

impl Drop for Killing<'_> {
    fn drop(&mut self) {
        locked(&self.0.0, |members| members.killing -= 1);
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

/// A group with at most so many greenlets at a time. Clones share it.
#[derive(Clone)]
pub struct Pool {
    group: Group,
    /// One item for each free place: a spawn takes one out.
    room: Queue<()>,
}

impl Pool {
    /// A pool for `size` greenlets.
    ///
    /// # Panics
    ///
    /// If `size` is 0: every spawn would wait forever, as it does in gevent.
    #[track_caller]
    pub fn new(size: usize) -> Pool {
        assert!(size > 0, "a pool of 0 has no place for a greenlet");
        let room = Queue::new();
        (0..size).for_each(|_| room.put(()));
        Pool { group: Group::new(), room }
    }

    /// Spawns a greenlet as soon as there is a free place. A kill unwinds.
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

    /// How many more can be spawned without a wait.
    pub fn free_count(&self) -> usize {
        self.room.len()
    }

    /// Runs `f` on every item and gives the results in the order of the items.
    ///
    /// # Errors
    ///
    /// The error of the first item whose greenlet did not return.
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

    /// Runs `f` on every item and returns the results as they come: one for each item, and an error
    /// for a greenlet that panicked, was killed or could not be started. If the iterator of items
    /// panics, that is one more error, and the end of the items. If the returned iterator is
    /// dropped, no more greenlets are started.
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
        let results = Queue::new();
        let sink = results.clone();
        let spawned = Arc::new(AtomicUsize::new(0));
        let count = spawned.clone();
        let feeder = spawn(move || {
            for item in items {
                let (f, sink) = (Arc::clone(&f), sink.clone());
                let task = pool.spawn(move || f(item));
                count.fetch_add(1, Ordering::Relaxed);
                task.link_result(move |result| sink.put(Some(result)));
            }
        });
        // `None` means that no more will be spawned.
        let (sink, count) = (results.clone(), spawned.clone());
        let life = KillOnDrop(feeder.life());
        feeder.link_result(move |fed| {
            if let Err(panic) = fed {
                count.fetch_add(1, Ordering::Relaxed);
                sink.put(Some(Err(panic)));
            }
            sink.put(None);
        });
        let (mut taken, mut all) = (0, None);
        let next = move || {
            let _feeder = &life;
            loop {
                if all == Some(taken) {
                    return None;
                }
                match results.get() {
                    Some(result) => {
                        taken += 1;
                        return Some(result);
                    }
                    None => all = Some(spawned.load(Ordering::Relaxed)),
                }
            }
        };
        iter::from_fn(next).fuse()
    }

    /// Waits until all have finished. A kill unwinds, and leaves them running.
    pub fn join(&self) {
        self.group.join();
    }

    /// Kills all members, and waits for their end.
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

struct KillOnDrop(Arc<Life>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;
    use std::time::Duration;

    use super::*;
    use crate::gevent::event::Event;
    use crate::gevent::timeout::{self, GreenletExit};
    use crate::tests::greenlets;

    #[test]
    fn a_group_is_joined_as_one() {
        let (before, done, after) = greenlets(|| {
            let (group, done) = (Group::new(), Arc::new(AtomicUsize::new(0)));
            for _ in 0..5 {
                let done = done.clone();
                group.spawn(move || {
                    timeout::sleep(Duration::from_millis(1));
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
            timeout::sleep(Duration::ZERO);
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
                    timeout::sleep(Duration::ZERO);
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
                timeout::sleep(Duration::from_millis(n));
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
    fn nothing_is_started_after_the_consumer_is_dropped() {
        let started = greenlets(|| {
            let started = Arc::new(AtomicUsize::new(0));
            let count = started.clone();
            let mut results =
                Pool::new(1).imap_unordered(0..100, move |_| count.fetch_add(1, Ordering::SeqCst));
            results.next().unwrap().unwrap();
            drop(results);
            for _ in 0..10 {
                timeout::sleep(Duration::ZERO);
            }
            started.load(Ordering::SeqCst)
        });
        assert!(started < 10, "{started} were started");
    }

    #[test]
    #[should_panic = "no place for a greenlet"]
    fn a_pool_of_nobody_is_refused() {
        let _ = Pool::new(0);
    }

    #[test]
    fn an_iterator_that_panics_ends_with_its_error() {
        let results: Vec<_> = greenlets(|| {
            let items = (1..).map(|n| if n == 3 { resume_unwind(Box::new("three")) } else { n });
            Pool::new(2).imap_unordered(items, |n| n).collect()
        });
        let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(good.into_iter().map(Result::unwrap).sum::<i32>(), 3);
        let bad: Vec<_> = bad.into_iter().map(Result::unwrap_err).collect();
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].downcast_ref(), Some(&"three"));
    }

    #[test]
    fn each_item_of_a_killed_pool_has_its_result() {
        let results: Vec<_> = greenlets(|| {
            let pool = Pool::new(3);
            let results = pool.imap_unordered(0..5, |_| Event::new().wait());
            timeout::sleep(Duration::ZERO);
            pool.kill();
            // The two that had no free place then.
            timeout::sleep(Duration::ZERO);
            pool.kill();
            results.collect()
        });
        assert_eq!(results.len(), 5);
        assert!(results.into_iter().all(|result| result.unwrap_err().is::<GreenletExit>()));
    }

    #[test]
    fn a_greenlet_spawned_while_its_group_is_killed_is_killed_too() {
        struct SpawnOnDrop(Group);
        impl Drop for SpawnOnDrop {
            fn drop(&mut self) {
                self.0.spawn(|| Event::new().wait());
            }
        }
        let empty = greenlets(|| {
            let group = Group::new();
            let last = SpawnOnDrop(group.clone());
            group.spawn(move || {
                let _last = last;
                Event::new().wait();
            });
            timeout::sleep(Duration::ZERO);
            group.kill();
            // It can be used again afterwards.
            let alive = group.spawn(|| 7).join().unwrap() == 7;
            alive && group.is_empty()
        });
        assert!(empty);
    }
}
