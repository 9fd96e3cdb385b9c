//! `report` starts a process that exits with the number in `counter`. The other threads of this
//! process must not matter, even if one of them holds the lock at that moment.
//! What was wrong: the child waited for a copy of the lock, but the holder was not copied.
//! The bug: a fork while another thread logs (CPython issue 50970). `process::spawn` refuses it.

use std::io;
use std::sync::Mutex;

use crate::multiprocessing::child::Child;

#[expect(unsafe_code, reason = "there are other threads")]
pub fn report(counter: &Mutex<i32>) -> io::Result<Child> {
    let count = *counter.lock().expect("no holder panics");
    // SAFETY: the child takes no lock and asks for no memory: it returns a number.
    unsafe { Child::fork_beside_threads(|| count) }
}
