//! `report` starts a process that exits with the number in `counter`. The other threads of this
//! process must not matter, even if one of them holds the lock at that moment.
//! Hint: a fork copies one thread, and every lock as it is. Who releases a copy that was locked?
//! What does the child need: the lock, or the number?
//! The bug: a fork while another thread logs (CPython issue 50970). `process::spawn` refuses it.
//! Try it: `cargo test -p processes lock_in_fork -- --ignored`

use std::io;
use std::sync::Mutex;

use crate::multiprocessing::child::Child;

#[expect(unsafe_code, reason = "there are other threads")]
pub fn report(counter: &Mutex<i32>) -> io::Result<Child> {
    // SAFETY: the child may do what a signal handler may. Does it?
    unsafe { Child::fork_beside_threads(|| *counter.lock().expect("no holder panics")) }
}
