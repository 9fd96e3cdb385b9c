//! The locks of std (`Mutex`, `Condvar`, `RwLock`, `Once`, `Barrier`) all sleep in
//! `syscall(SYS_futex, ...)`, and `syscall` is a symbol of libc like any other. So a greenlet that
//! waits for a lock can be parked, and the holder can run. Without this, a lock held across a
//! blocking call would stop all greenlets.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{c_int, c_long, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use libc::{clockid_t, timespec};

use crate::gevent::cooperate::{cooperative, is_patched};
use crate::gevent::hub::{self, UNWINDING};
use crate::gevent::sys::{duration, errno, fail, hidden, left_until};
use crate::gevent::waiter::{
    OnKill, Waiter, Wake, cannot_wait_while_unwinding, in_bookkeeping, locked,
};
use crate::gevent::{fork, worker};

/// The greenlets that wait for a change of the word at an address.
static WAITING: Mutex<BTreeMap<usize, VecDeque<Arc<Waiter>>>> = Mutex::new(BTreeMap::new());

/// How many are in `WAITING`: if it is 0, a wake-up need not search.
static PARKED: AtomicUsize = AtomicUsize::new(0);

type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

#[expect(unsafe_code, reason = "transmutes what dlsym found")]
fn libc_own() -> Syscall {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    // SAFETY: `syscall` takes a number and up to six machine words.
    unsafe { std::mem::transmute::<*mut c_void, Syscall>(hidden(c"syscall", &CACHE)) }
}

// `syscall` is variadic. Both ABIs of this program (System V on x86-64, AAPCS64 on Linux) pass
// variadic integers like named arguments, so we may name them.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn syscall(
    number: c_long,
    address: usize,
    operation: usize,
    value: usize,
    timeout: usize,
    address2: usize,
    value3: usize,
) -> c_long {
    // SAFETY: the caller's arguments, except how many to wake.
    let call =
        |value| unsafe { libc_own()(number, address, operation, value, timeout, address2, value3) };
    if number != libc::SYS_futex {
        return call(value);
    }
    let flags = operation as c_int;
    match flags & libc::FUTEX_CMD_MASK {
        how @ (libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET) => {
            worker::note_wait(address);
            if !cooperative() || worker::owns(address) {
                return call(value);
            }
            if thread::panicking() {
                return if timeout == 0 { stand_still(address, flags, value) } else { call(value) };
            }
            let clock = (how == libc::FUTEX_WAIT_BITSET).then_some(clock(flags));
            // SAFETY: the caller's timeout, or null.
            let until = unsafe { deadline(timeout as *const timespec, clock) };
            // SAFETY: the caller's word, which stays valid until this call returns.
            let word = unsafe { &*(address as *const AtomicU32) };
            wait(word, value as u32, until)
        }
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET
            if is_patched() && !in_bookkeeping() && somebody_parked() =>
        {
            let asked = value as u32 as usize;
            let woken = wake(address, asked);
            let rest = if woken < asked { call(asked - woken) } else { 0 };
            woken as c_long + rest.max(0)
        }
        _ => call(value),
    }
}

/// The wait of a destructor while its greenlet unwinds: it really blocks, and no greenlet runs. An
/// OS thread that holds the lock releases it soon. A greenlet cannot, and then this ends the
/// program.
#[expect(unsafe_code, reason = "futex")]
fn stand_still(address: usize, flags: c_int, value: usize) -> c_long {
    let most = timespec { tv_sec: UNWINDING.as_secs() as _, tv_nsec: 0 };
    let operation = libc::FUTEX_WAIT | (flags & libc::FUTEX_PRIVATE_FLAG);
    let most = (&raw const most).addr();
    // SAFETY: the caller's word; the timeout outlives the call.
    let woken =
        unsafe { libc_own()(libc::SYS_futex, address, operation as usize, value, most, 0, 0) };
    if woken < 0 && errno() == libc::ETIMEDOUT {
        cannot_wait_while_unwinding();
    }
    woken
}

/// The clock of an absolute timeout.
fn clock(flags: c_int) -> clockid_t {
    if flags & libc::FUTEX_CLOCK_REALTIME == 0 {
        libc::CLOCK_MONOTONIC
    } else {
        libc::CLOCK_REALTIME
    }
}

fn somebody_parked() -> bool {
    if fork::in_child() {
        return false; // a copy of the greenlets parked in the parent
    }
    // Pairs with the fence in `enter`: if this thread changes the word and then sees no parked
    // waiter, a greenlet that parks later sees the new word.
    fence(Ordering::SeqCst);
    PARKED.load(Ordering::SeqCst) > 0
}

/// When a wait ends: `timeout` is a time of `clock`, or a duration without one.
///
/// # Safety
///
/// `timeout` is null or points to a time.
#[expect(unsafe_code, reason = "reads the caller's timeout")]
unsafe fn deadline(timeout: *const timespec, clock: Option<clockid_t>) -> Option<Instant> {
    // SAFETY: what the caller promises.
    let span = duration(*unsafe { timeout.as_ref() }?)?;
    let left = clock.map_or(span, |clock| left_until(clock, span));
    Instant::now().checked_add(left)
}

fn wait(word: &AtomicU32, expected: u32, until: Option<Instant>) -> c_long {
    let waiter = Waiter::new();
    if !enter(word, expected, &waiter) {
        return c_long::from(fail(libc::EAGAIN));
    }
    // A lock cannot be half taken: a kill waits for a wait that can report it.
    let woken = hub::park(&waiter, until, OnKill::Defer);
    leave(word, &waiter, woken);
    if woken == Wake::Ready {
        return 0;
    }
    c_long::from(fail(libc::ETIMEDOUT))
}

/// Registers for a change of the word; false if it has already changed.
fn enter(word: &AtomicU32, expected: u32, waiter: &Arc<Waiter>) -> bool {
    PARKED.fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let entered = locked(&WAITING, |waiting| {
        if word.load(Ordering::SeqCst) != expected {
            return false;
        }
        let queue = waiting.entry(ptr::from_ref(word).addr()).or_default();
        queue.push_back(waiter.clone());
        true
    });
    if !entered {
        PARKED.fetch_sub(1, Ordering::SeqCst);
    }
    entered
}

fn leave(word: &AtomicU32, waiter: &Arc<Waiter>, woken: Wake) {
    PARKED.fetch_sub(1, Ordering::SeqCst);
    if woken == Wake::Ready {
        return; // the wake-up removed it
    }
    let address = ptr::from_ref(word).addr();
    locked(&WAITING, |waiting| {
        if let Some(queue) = waiting.get_mut(&address) {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if queue.is_empty() {
                waiting.remove(&address);
            }
        }
    });
}

/// Wakes up to `most` greenlets that wait at the address; returns how many.
fn wake(address: usize, most: usize) -> usize {
    locked(&WAITING, |waiting| {
        let Some(queue) = waiting.get_mut(&address) else {
            return 0;
        };
        let mut woken = 0;
        while woken < most
            && let Some(waiter) = queue.pop_front()
        {
            // A waiter that timed out first does not count.
            woken += usize::from(waiter.wake());
        }
        if queue.is_empty() {
            waiting.remove(&address);
        }
        woken
    })
}
