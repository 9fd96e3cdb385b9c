//! A queue between tasks (`asyncio.queues`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::event_loop::EventLoop;
use super::exceptions::Exception;
use super::futures::Future;

/// A queue that makes who puts wait when it is full, and who gets when it is empty
/// (`asyncio.Queue(maxsize)`). A clone is the same queue.
pub struct Queue<T>(Rc<Line<T>>);

struct Line<T> {
    event_loop: EventLoop,
    maxsize: usize,
    items: RefCell<VecDeque<T>>,
    getters: RefCell<VecDeque<Future<()>>>,
    putters: RefCell<VecDeque<Future<()>>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue(Rc::clone(&self.0))
    }
}

impl<T> Queue<T> {
    /// A queue for `maxsize` items at most.
    pub fn new(event_loop: &EventLoop, maxsize: usize) -> Queue<T> {
        Queue(Rc::new(Line {
            event_loop: event_loop.clone(),
            maxsize,
            items: RefCell::default(),
            getters: RefCell::default(),
            putters: RefCell::default(),
        }))
    }

    /// Waits until there is room, then adds an item.
    ///
    /// # Errors
    ///
    /// The wait was cancelled.
    pub async fn put(&self, item: T) -> Result<(), Exception> {
        while self.0.items.borrow().len() >= self.0.maxsize {
            self.wait_in(&self.0.putters).await?;
        }
        self.put_nowait(item);
        Ok(())
    }

    /// Adds an item, whether there is room or not.
    pub fn put_nowait(&self, item: T) {
        self.0.items.borrow_mut().push_back(item);
        wake_next(&self.0.getters);
    }

    /// Waits for an item and takes it.
    ///
    /// # Errors
    ///
    /// The wait was cancelled.
    pub async fn get(&self) -> Result<T, Exception> {
        loop {
            let item = self.0.items.borrow_mut().pop_front();
            if let Some(item) = item {
                wake_next(&self.0.putters);
                return Ok(item);
            }
            self.wait_in(&self.0.getters).await?;
        }
    }

    async fn wait_in(&self, line: &RefCell<VecDeque<Future<()>>>) -> Result<(), Exception> {
        let future = self.0.event_loop.create_future();
        line.borrow_mut().push_back(future.clone());
        let mut turn = Turn { future, line, taken: false };
        let woken = turn.future.clone().await;
        turn.taken = true;
        woken
    }
}

/// A place in a line. Whoever is cancelled while waiting, or between being woken and taking the
/// turn, leaves it to the next.
struct Turn<'a> {
    future: Future<()>,
    line: &'a RefCell<VecDeque<Future<()>>>,
    taken: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.taken && !self.future.cancel() {
            wake_next(self.line);
        }
    }
}

/// Wakes the first in line who still waits: one who was cancelled passes it on.
fn wake_next(line: &RefCell<VecDeque<Future<()>>>) {
    loop {
        let Some(turn) = line.borrow_mut().pop_front() else { return };
        if !turn.done() {
            turn.set_result(());
            return;
        }
    }
}
