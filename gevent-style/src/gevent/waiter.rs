//! One wait of one greenlet, and what ends it: its event, its timeout, a kill, the end of a
//! `with_timeout` around it.

use std::cell::{Cell, RefCell};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use may::coroutine::{self, Coroutine};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::gevent::fork;

/// Why a parked greenlet runs again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// The event it waited for has happened.
    Ready,
    /// Its own timeout has expired.
    TimedOut,
    /// A `with_timeout` around it has expired.
    OutOfTime,
    Killed,
}

/// How a wait handles a kill, and the end of a `with_timeout` around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnKill {
    /// Report it: the caller can return an error.
    Report,
    /// End early and let the next wait report it: `std::thread::sleep` returns nothing.
    EndEarly,
    /// Go on waiting: a lock cannot be half taken.
    Defer,
}

/// One wait of one greenlet (or OS thread). The first reason to wake it wins.
pub struct Waiter {
    reason: AtomicU8,
    parked: Parked,
}

enum Parked {
    Greenlet(Coroutine),
    Thread(Thread),
}

const WAITING: u8 = 0;
const READY: u8 = 1;
const TIMED_OUT: u8 = 2;
const KILLED: u8 = 3;

impl Waiter {
    /// A wait of the calling greenlet or thread.
    pub fn new() -> Arc<Self> {
        let parked = if coroutine::is_coroutine() {
            Parked::Greenlet(coroutine::current())
        } else {
            Parked::Thread(thread::current())
        };
        Arc::new(Self { reason: AtomicU8::new(WAITING), parked })
    }

    /// Ends the wait with `Wake::Ready`; false if another reason was first.
    pub fn wake(&self) -> bool {
        self.fire(READY)
    }

    /// Ends the wait with `Wake::TimedOut`.
    pub fn time_out(&self) {
        self.fire(TIMED_OUT);
    }

    fn fire(&self, reason: u8) -> bool {
        let first = self
            .reason
            .compare_exchange(WAITING, reason, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if first {
            match &self.parked {
                Parked::Greenlet(greenlet) if coroutine::is_coroutine() => greenlet.unpark(),
                Parked::Greenlet(greenlet) => unpark_later(greenlet),
                Parked::Thread(thread) => thread.unpark(),
            }
        }
        first
    }

    /// Parks until the wait is ended. An unpark left from an earlier wait only causes one more
    /// check.
    pub fn park(&self) -> Wake {
        fork::refuse_in_child();
        if coroutine::is_coroutine() && thread::panicking() {
            cannot_wait_while_unwinding();
        }
        loop {
            match self.reason.load(Ordering::Acquire) {
                READY => return Wake::Ready,
                TIMED_OUT => return Wake::TimedOut,
                KILLED => return Wake::Killed,
                _ => {}
            }
            match &self.parked {
                Parked::Greenlet(_) => coroutine::park(),
                Parked::Thread(_) => thread::park(),
            }
        }
    }
}

/// A destructor that waits for another greenlet while a panic or a kill unwinds would wait forever.
/// std counts panics per OS thread, so no other greenlet may run before the unwinding is over.
pub fn cannot_wait_while_unwinding() -> ! {
    uncooperative(|| {
        eprintln!("a greenlet that unwinds (a panic, a kill) cannot wait for another one");
    });
    std::process::abort();
}

/// Greenlets woken by another OS thread. If that thread unparked a greenlet that is about to park,
/// `may` would resume it while it is still parking. So only the hub unparks them.
static WOKEN_OUTSIDE: Mutex<Vec<Coroutine>> = Mutex::new(Vec::new());

fn unpark_later(greenlet: &Coroutine) {
    locked(&WOKEN_OUTSIDE, |woken| woken.push(greenlet.clone()));
    wake_hub();
}

/// Unparks the greenlets woken by other OS threads. The hub calls it after a [`wake_hub`].
pub fn unpark_woken_outside() {
    for greenlet in mem::take(&mut *lock(&WOKEN_OUTSIDE)) {
        greenlet.unpark();
    }
}

fn event() -> &'static EventFd {
    static EVENT: OnceLock<EventFd> = OnceLock::new();
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let make = || EventFd::from_value_and_flags(0, flags);
    EVENT.get_or_init(|| {
        make().expect("the hub needs a few descriptors; raise the limit (ulimit -n)")
    })
}

/// The descriptor that wakes the hub. Watch it edge-triggered: every [`wake_hub`] is an event, and
/// the count need not be read.
pub fn wakeups() -> BorrowedFd<'static> {
    event().as_fd()
}

/// Gives the hub a turn.
pub fn wake_hub() {
    // It fails only if the count is at its maximum, and then the hub has already been woken.
    let _ = uncooperative(|| event().write(1));
}

/// The state of one greenlet: whether it was killed, where it is parked, how long it may wait.
#[derive(Default)]
pub struct Life(Mutex<LifeState>);

#[derive(Default)]
struct LifeState {
    /// It stays true: if the greenlet ignores one failed call, the next one fails too.
    killed: bool,
    parked_on: Option<Arc<Waiter>>,
    /// Of the `with_timeout`s around it, the one that expires first.
    limit: Option<Cap>,
    /// How many `with_timeout`s are around it.
    depth: usize,
    /// The `with_timeout` that has ended a wait early, by its depth.
    cut_by: Option<usize>,
    /// std has panicked because such a wait failed.
    std_panicked: bool,
}

#[derive(Clone, Copy)]
struct Cap {
    until: Instant,
    depth: usize,
}

may::coroutine_local!(static LIFE: RefCell<Option<Arc<Life>>> = RefCell::new(None));

impl Life {
    /// Makes this the state of the calling greenlet, which has just started.
    pub fn begin(self: &Arc<Self>) {
        LIFE.with(|life| *life.borrow_mut() = Some(self.clone()));
    }

    /// The state of the calling greenlet; `None` in an OS thread.
    pub fn current() -> Option<Arc<Self>> {
        if !coroutine::is_coroutine() {
            return None;
        }
        LIFE.with(|life| life.borrow().clone())
    }

    /// Ends the current wait of the greenlet, and every later one.
    pub fn kill(&self) {
        locked(&self.0, |state| {
            state.killed = true;
            if let Some(waiter) = &state.parked_on {
                waiter.fire(KILLED);
            }
        });
    }

    pub fn is_killed(&self) -> bool {
        locked(&self.0, |state| state.killed)
    }

    /// Why the greenlet must begin nothing new: it was killed, or a `with_timeout` ended a wait.
    pub fn told(&self) -> Option<Wake> {
        locked(&self.0, |state| match (state.killed, state.cut_by) {
            (true, _) => Some(Wake::Killed),
            (false, Some(_)) => Some(Wake::OutOfTime),
            (false, None) => None,
        })
    }

    /// Like `told`, for a greenlet that has not waited: its time may still be up.
    pub fn check(&self) -> Option<Wake> {
        locked(&self.0, |state| {
            if let Some(cap) = state.limit.filter(|cap| cap.until <= Instant::now()) {
                state.cut(cap);
            }
        });
        self.told()
    }

    /// Notes the waiter on which the greenlet will park, and returns how long it may. `Err` if it
    /// was killed before. The note stays after the wait: the waiter has fired by then, so a kill
    /// ends the next wait instead.
    pub fn park_on(&self, waiter: &Arc<Waiter>) -> Result<Option<Instant>, Wake> {
        locked(&self.0, |state| {
            if state.killed {
                return Err(Wake::Killed);
            }
            state.parked_on = Some(waiter.clone());
            Ok(state.limit.map(|cap| cap.until))
        })
    }

    /// The end of a `with_timeout` has ended a wait.
    pub fn cut(&self) {
        locked(&self.0, |state| {
            if let Some(cap) = state.limit {
                state.cut(cap);
            }
        });
    }

    /// A panic begins, in std's `Command` or elsewhere. Whether a wait that was ended early caused
    /// it.
    pub fn note_panic(&self, of_command: bool) -> bool {
        let over_a_wait = of_command && self.told().is_some();
        locked(&self.0, |state| state.std_panicked = over_a_wait);
        over_a_wait
    }

    /// Whether the panic that was just caught is std's own, about a wait that was ended early; and
    /// why.
    pub fn take_panic_of_std(&self) -> Option<Wake> {
        let panicked = locked(&self.0, |state| mem::take(&mut state.std_panicked));
        if panicked { self.told() } else { None }
    }
}

impl LifeState {
    fn cut(&mut self, cap: Cap) {
        self.cut_by = Some(self.cut_by.map_or(cap.depth, |by| by.min(cap.depth)));
    }
}

/// Limits every wait of the calling greenlet, until the guard is dropped. An earlier limit stays.
/// `None` in an OS thread, whose waits cannot be ended early.
pub fn limit(until: Instant) -> Option<Limit> {
    let life = Life::current()?;
    let (outer, depth) = locked(&life.0, |state| {
        let outer = state.limit;
        state.depth += 1;
        let ours = Cap { until, depth: state.depth };
        state.limit = Some(outer.filter(|outer| outer.until <= until).unwrap_or(ours));
        (outer, state.depth)
    });
    Some(Limit { life, outer, depth })
}

/// A limit on the waits of a greenlet. Dropping it restores the previous one.
pub struct Limit {
    life: Arc<Life>,
    outer: Option<Cap>,
    depth: usize,
}

impl Limit {
    /// Whether it has ended a wait early.
    pub fn has_cut(&self) -> bool {
        locked(&self.life.0, |state| state.cut_by == Some(self.depth))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        locked(&self.life.0, |state| {
            state.limit = self.outer;
            state.depth = self.depth - 1;
            state.cut_by = state.cut_by.filter(|by| *by < self.depth);
        });
    }
}

thread_local!(static IN_HUB: Cell<bool> = const { Cell::new(false) });

/// Whether the caller is a greenlet. False in a forked child, which has no hub, and in bookkeeping.
#[inline(never)]
pub fn is_greenlet() -> bool {
    coroutine::is_coroutine() && !IN_HUB.get() && !fork::in_child()
}

/// Whether the caller is a greenlet that may be parked now. Not while it unwinds: std counts panics
/// per OS thread, and another greenlet would see itself as panicking.
pub fn in_greenlet() -> bool {
    is_greenlet() && !thread::panicking()
}

/// Runs bookkeeping, in which calls to libc are not patched: nothing in `f` parks.
#[inline(never)]
pub fn uncooperative<R>(f: impl FnOnce() -> R) -> R {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            IN_HUB.set(self.0);
        }
    }
    let _reset = Reset(IN_HUB.replace(true));
    f()
}

/// Whether the calling thread is in bookkeeping.
#[inline(never)]
pub fn in_bookkeeping() -> bool {
    IN_HUB.get()
}

/// Bookkeeping under a lock. A lock of the machinery is held only here: its waits really block but
/// are short, and nothing parks while it is held.
pub fn locked<T, R>(mutex: &Mutex<T>, f: impl FnOnce(&mut T) -> R) -> R {
    uncooperative(|| f(&mut lock(mutex)))
}

/// The lock, even if its last holder panicked: the data it protects is always consistent.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
