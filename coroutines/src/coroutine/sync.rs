//! Events, locks and channels between tasks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
pub use std::sync::mpsc::{RecvError, SendError};
use std::thread;

pub use super::source::Event;
use super::source::Source;
use super::trampoline::{Fiber, State, Trampoline, Wake};
use super::wait::wait;

impl Event {
    pub fn new() -> Event {
        Event::default()
    }

    pub fn set(&self) {
        self.set.set(true);
        Trampoline::with(|trampoline| trampoline.wake_all(self));
    }

    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// # Errors
    ///
    /// `Deadlock` if every task waits for another one.
    pub fn wait(&self) -> io::Result<()> {
        wait(Source::Event(self), None)
    }
}

/// Held by one task at a time, also while that task waits. (`gevent.lock.Semaphore(1)`)
#[derive(Default)]
pub struct Lock {
    held: Cell<bool>,
    released: Event,
}

impl Lock {
    pub fn new() -> Lock {
        Lock::default()
    }

    /// Waits until no task holds the lock, and holds it until the guard is dropped.
    ///
    /// # Errors
    ///
    /// `Deadlock` if every task waits for another one.
    pub fn acquire(&self) -> io::Result<Held<'_>> {
        while self.held.get() {
            self.released.wait()?;
        }
        self.held.set(true);
        Ok(Held(self))
    }
}

/// Releases the lock when dropped.
#[must_use]
pub struct Held<'a>(&'a Lock);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        // All tasks that wait try again, one by one. If only one were woken and then closed, the
        // lock would be lost.
        Trampoline::with(|trampoline| trampoline.wake_all(&self.0.released));
    }
}

/// A queue without a bound, from senders to a receiver. (`gevent.queue.Queue`)
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Rc::new(Channel {
        queue: RefCell::default(),
        waiting: RefCell::default(),
        senders: Cell::new(1),
        received: Cell::new(true),
    });
    (Sender(Rc::clone(&channel)), Receiver(channel))
}

struct Channel<T> {
    queue: RefCell<VecDeque<T>>,
    /// The tasks that wait for a value.
    waiting: RefCell<Vec<Rc<Fiber>>>,
    senders: Cell<usize>,
    /// The receiver still exists.
    received: Cell<bool>,
}

impl<T> Channel<T> {
    /// All tasks that wait try again: if one of them is closed first, its value is not lost.
    #[inline]
    fn wake_all(&self) {
        Trampoline::with(|trampoline| {
            for fiber in self.waiting.borrow_mut().drain(..) {
                trampoline.wake(fiber, Wake::Again);
            }
        });
    }
}

/// The end of a [`channel`] that sends values.
pub struct Sender<T>(Rc<Channel<T>>);

impl<T> Sender<T> {
    /// Never waits.
    ///
    /// # Errors
    ///
    /// The receiver has been dropped: the error contains the value.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if !self.0.received.get() {
            return Err(SendError(value));
        }
        self.0.queue.borrow_mut().push_back(value);
        self.0.wake_all();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.senders.set(self.0.senders.get() + 1);
        Sender(Rc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.wake_all();
        }
    }
}

/// The end of a [`channel`] that receives values, first in, first out.
pub struct Receiver<T>(Rc<Channel<T>>);

impl<T> Receiver<T> {
    /// Waits for a value.
    ///
    /// # Errors
    ///
    /// None is left and none will come: every sender has been dropped, every task waits for another
    /// one, or this task is being unwound.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        loop {
            if let Some(value) = self.0.queue.borrow_mut().pop_front() {
                return Ok(value);
            }
            if self.0.senders.get() == 0 || thread::panicking() {
                return Err(RecvError);
            }
            let woken = Trampoline::with(|trampoline| {
                self.0.waiting.borrow_mut().push(trampoline.running());
                trampoline.suspend(State::Waiting)
            });
            if let Wake::Deadlock = woken {
                return Err(RecvError);
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.received.set(false);
        // A value may own a sender of this channel.
        drop(self.0.queue.take());
    }
}

#[cfg(test)]
mod tests;
