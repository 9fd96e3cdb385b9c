//! What the tests of the machinery share.

use std::cell::RefCell;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::sync::Event;

/// What the tasks of a test did, in order.
pub type Log = Rc<RefCell<Vec<String>>>;

/// Notes that it is dropped.
pub struct Finally(pub Log, pub &'static str);

impl Drop for Finally {
    fn drop(&mut self) {
        note(&self.0, self.1);
    }
}

/// Panics when it is dropped.
pub struct Explosive(pub &'static str);

impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

pub fn note(log: &Log, what: impl Into<String>) {
    log.borrow_mut().push(what.into());
}

pub fn logged(log: &Log) -> String {
    log.borrow().join(" ")
}

pub fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().expect("a socket pair");
    a.set_nonblocking(true).expect("nonblocking");
    b.set_nonblocking(true).expect("nonblocking");
    (a, b)
}

/// Waits for an event that never comes.
pub fn forever() -> io::Result<()> {
    Event::new().wait()
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_millis(2)
}

/// A safety timeout.
pub fn late() -> Instant {
    Instant::now() + Duration::from_mins(1)
}
