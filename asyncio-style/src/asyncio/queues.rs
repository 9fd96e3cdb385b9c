//! A queue between tasks (`asyncio.queues`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::event_loop::EventLoop;
use super::exceptions::{Exception, RuntimeError};
use super::futures::Future;

/// A queue in which `put` waits when it is full, and `get` waits when it is empty
/// (`asyncio.Queue(maxsize)`). A clone is the same queue.
pub struct Queue<T>(Rc<State<T>>);

struct State<T> {
    event_loop: EventLoop,
    maxsize: usize,
    items: RefCell<VecDeque<T>>,
    unfinished: Cell<usize>,
    getters: Waiters,
    putters: Waiters,
    joiners: Waiters,
}

/// The waiters by arrival: a waiter that has to wait once more keeps its place.
type Waiters = RefCell<BTreeMap<u64, Future<()>>>;

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue(Rc::clone(&self.0))
    }
}

impl<T> Queue<T> {
    /// A queue for at most `maxsize` items; 0 means any number.
    pub fn new(event_loop: &EventLoop, maxsize: usize) -> Queue<T> {
        Queue(Rc::new(State {
            event_loop: event_loop.clone(),
            maxsize,
            items: RefCell::default(),
            unfinished: Cell::new(0),
            getters: RefCell::default(),
            putters: RefCell::default(),
            joiners: RefCell::default(),
        }))
    }

    /// How many items are in it.
    pub fn qsize(&self) -> usize {
        self.0.items.borrow().len()
    }

    /// Whether `put` has to wait.
    pub fn full(&self) -> bool {
        self.0.maxsize > 0 && self.qsize() >= self.0.maxsize
    }

    /// Waits until there is a free slot, then adds an item.
    ///
    /// # Errors
    ///
    /// The wait was cancelled.
    pub async fn put(&self, item: T) -> Result<(), Exception> {
        let number = self.0.event_loop.number();
        while self.full() {
            self.wait_among(&self.0.putters, number).await?;
        }
        self.add(item);
        Ok(())
    }

    /// Adds an item, if there is a free slot.
    ///
    /// # Errors
    ///
    /// It is full: the error contains the item (`QueueFull`).
    pub fn put_nowait(&self, item: T) -> Result<(), T> {
        if self.full() {
            return Err(item);
        }
        self.add(item);
        Ok(())
    }

    /// Waits for an item and takes it.
    ///
    /// # Errors
    ///
    /// The wait was cancelled.
    pub async fn get(&self) -> Result<T, Exception> {
        let number = self.0.event_loop.number();
        loop {
            if let Some(item) = self.get_nowait() {
                return Ok(item);
            }
            self.wait_among(&self.0.getters, number).await?;
        }
    }

    /// Takes an item; `None` if it is empty (`QueueEmpty`).
    pub fn get_nowait(&self) -> Option<T> {
        let item = self.0.items.borrow_mut().pop_front()?;
        wake_next(&self.0.putters);
        Some(item)
    }

    /// Says that the work on an item that was taken is done.
    ///
    /// # Errors
    ///
    /// It was called more often than items were put.
    pub fn task_done(&self) -> Result<(), RuntimeError> {
        let Some(left) = self.0.unfinished.get().checked_sub(1) else {
            return Err(RuntimeError("task_done() called too many times"));
        };
        self.0.unfinished.set(left);
        if left == 0 {
            while wake_next(&self.0.joiners) {}
        }
        Ok(())
    }

    /// Waits until the work on all items is done.
    ///
    /// # Errors
    ///
    /// The wait was cancelled.
    pub async fn join(&self) -> Result<(), Exception> {
        if self.0.unfinished.get() > 0 {
            self.wait_among(&self.0.joiners, self.0.event_loop.number()).await?;
        }
        Ok(())
    }

    /// How many tasks wait for it.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        [&self.0.getters, &self.0.putters, &self.0.joiners]
            .map(|all| all.borrow().len())
            .iter()
            .sum()
    }

    fn add(&self, item: T) {
        self.0.items.borrow_mut().push_back(item);
        self.0.unfinished.set(self.0.unfinished.get() + 1);
        wake_next(&self.0.getters);
    }

    async fn wait_among(&self, waiters: &Waiters, number: u64) -> Result<(), Exception> {
        let future = self.0.event_loop.create_future();
        waiters.borrow_mut().insert(number, future.clone());
        let mut place = Place { waiters, number, kept: true };
        let woken = future.await;
        place.kept = false;
        woken
    }
}

/// A place in the queue of waiters. A waiter that is cancelled while it waits, or after its wake-up
/// but before its next step, leaves the place to the next waiter.
struct Place<'a> {
    waiters: &'a Waiters,
    number: u64,
    kept: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let waiting = self.waiters.borrow_mut().remove(&self.number);
        if self.kept && waiting.is_none() {
            wake_next(self.waiters);
        }
    }
}

/// Wakes the first waiter. Returns whether there was one.
fn wake_next(waiters: &Waiters) -> bool {
    loop {
        let Some((_, waiting)) = waiters.borrow_mut().pop_first() else { return false };
        if !waiting.done() {
            waiting.set_result(());
            return true;
        }
    }
}
