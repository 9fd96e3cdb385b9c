//! What all hooks share: the test whether to park the caller, and how a call that would block
//! becomes one that parks. A hook never panics and sets `errno` last.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libc::ssize_t;

use crate::gevent::hub::{READABLE, WRITABLE, Wait};
use crate::gevent::sys::{deadline, errno, fail, nonblocking, poll_for_real};
use crate::gevent::waiter::{Life, OnKill, Waiter, Wake, is_greenlet};

static PATCHED: AtomicBool = AtomicBool::new(false);

/// Part of `monkey::patch_all`: from here on the hooks do more than libc does.
pub fn patch() {
    PATCHED.store(true, Ordering::Release);
}

pub fn is_patched() -> bool {
    PATCHED.load(Ordering::Relaxed)
}

/// Whether a greenlet makes the call. Then it is parked where libc would block.
pub fn cooperative() -> bool {
    is_patched() && is_greenlet()
}

/// The direction of data through a descriptor: what to wait for, and where its timeout is stored.
#[derive(Clone, Copy)]
pub struct Direction {
    pub mask: u32,
    pub timeout: c_int,
}

pub const IN: Direction = Direction { mask: READABLE, timeout: libc::SO_RCVTIMEO };
pub const OUT: Direction = Direction { mask: WRITABLE, timeout: libc::SO_SNDTIMEO };

/// Parks until one of them may be ready. `Err` has the errno to report instead.
pub fn park(on: &[(RawFd, u32)], until: Option<Instant>, timed_out: c_int) -> Result<(), c_int> {
    let wait = Wait { on, until, on_kill: OnKill::Report };
    match wait.park(&Waiter::new()) {
        Ok(Wake::Ready) => Ok(()),
        Ok(Wake::TimedOut) => Err(timed_out),
        Ok(Wake::OutOfTime) => Err(libc::ETIMEDOUT),
        Ok(Wake::Killed) => Err(libc::ECANCELED),
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// The errno for a call that would begin something new in a greenlet that has to end.
pub fn told_to_end() -> Result<(), c_int> {
    match Life::current().and_then(|life| life.told()) {
        Some(Wake::Killed) => Err(libc::ECANCELED),
        Some(_) => Err(libc::ETIMEDOUT),
        None => Ok(()),
    }
}

/// Parks for a moment, for when the kernel has no event for the wait. `Err` has the errno to
/// report: EAGAIN when the time is up.
pub fn pause(until: Option<Instant>) -> Result<(), c_int> {
    let soon = Instant::now() + Duration::from_millis(1);
    if until.is_some_and(|until| until <= soon) {
        return Err(libc::EAGAIN);
    }
    match park(&[], Some(soon), 0) {
        Err(0) => Ok(()),
        result => result,
    }
}

/// Tries a call that never blocks, and parks as long as the kernel says that it would block.
pub fn cooperate(fd: RawFd, way: Direction, mut attempt: impl FnMut() -> ssize_t) -> ssize_t {
    let mut until = None;
    let mut in_vain = 0;
    loop {
        let n = attempt();
        if n >= 0 || errno() != libc::EAGAIN {
            return n;
        }
        if nonblocking(fd) {
            return fail(libc::EAGAIN) as ssize_t;
        }
        let until = *until.get_or_insert_with(|| deadline(fd, way.timeout));
        in_vain += 1;
        // The kernel answers EAGAIN when the timeout of a socket expires.
        let parked = if in_vain % 10 == 0 {
            // Ready again and again, but never usable: a datagram for a Unix socket that is full.
            pause(until)
        } else {
            park(&[(fd, way.mask)], until, libc::EAGAIN)
        };
        if let Err(errno) = parked {
            return fail(errno) as ssize_t;
        }
    }
}

/// Parks until a blocking call on this descriptor would not block. `Err` has the errno to report.
/// Another caller may be faster than that call, so this is only for descriptors without a
/// nonblocking call.
pub fn until_ready(fd: RawFd, way: Direction) -> Result<(), c_int> {
    if nonblocking(fd) {
        return Ok(());
    }
    while !poll_for_real(&[(fd, way.mask)], 0) {
        match park(&[(fd, way.mask)], None, libc::EAGAIN) {
            // A regular file cannot be polled: a call on it never waits.
            Err(libc::EPERM) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}
