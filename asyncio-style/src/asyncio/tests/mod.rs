//! What asyncio does, tested here: one file for each file of the machinery.

mod event_loop;
mod futures;
mod queues;
mod streams;
mod taskgroups;
mod tasks;
mod transports;

use std::cell::{Cell, RefCell};
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use super::event_loop::EventLoop;
use super::exceptions::Exception;

/// A safety timeout: a test that waits this long fails.
const DEADLINE: Duration = Duration::from_mins(1);

fn event_loop() -> EventLoop {
    EventLoop::new().expect("a descriptor is left")
}

/// Runs `body` as a task until it is done.
fn complete<T: Clone + 'static>(
    event_loop: &EventLoop,
    body: impl Future<Output = T> + 'static,
) -> Result<T, Exception> {
    let task = event_loop.create_task(body);
    let timer = event_loop.call_later(DEADLINE, || panic!("it hangs"));
    let result = event_loop.run_until_complete(&task);
    timer.cancel();
    result
}

/// Lets the loop take this many turns, without waiting for anything.
fn turns(event_loop: &EventLoop, n: usize) {
    for _ in 0..n {
        event_loop.stop();
        event_loop.run_forever().expect("it does not run yet");
    }
}

/// A log, and a function that writes to it.
fn log() -> (Rc<RefCell<Vec<&'static str>>>, impl Fn(&'static str) + Clone) {
    let log = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&log);
    (log, move |word| kept.borrow_mut().push(word))
}

/// Calls what it was given when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A flag, and a guard that sets it when it is dropped.
fn guard() -> (Rc<Cell<bool>>, OnDrop<impl FnMut()>) {
    let dropped = Rc::new(Cell::new(false));
    let set = Rc::clone(&dropped);
    (dropped, OnDrop(move || set.set(true)))
}

/// How many other owners share the value of `probe`.
fn others<T>(probe: &Rc<T>) -> usize {
    Rc::strong_count(probe) - 1
}

/// How many sockets of this process lead to or from `port`.
fn sockets_of(port: u16) -> usize {
    let mut open = 0;
    for entry in fs::read_dir("/proc/self/fd").expect("it is there").flatten() {
        let fd: i32 = entry.file_name().to_string_lossy().parse().expect("a number");
        let local = nix::sys::socket::getsockname::<nix::sys::socket::SockaddrIn>(fd);
        let peer = nix::sys::socket::getpeername::<nix::sys::socket::SockaddrIn>(fd);
        open += usize::from([local, peer].iter().flatten().any(|address| address.port() == port));
    }
    open
}
