//! A wait of one greenlet and what ends it: what it waits for, its time, a kill, the end of a
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
    /// What it waited for is there.
    Ready,
    /// Its own time is up.
    TimedOut,
    /// The time of a `with_timeout` around it is up.
    OutOfTime,
    Killed,
}

/// What a wait does about a kill, and about the end of a `with_timeout` around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnKill {
    /// Report it: the caller can tell its own caller.
    Report,
    /// End early and leave the report to the next wait: `std::thread::sleep` returns nothing.
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

    /// Ends the wait with `Wake::Ready`; false when another reason was first.
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

    /// Parks until somebody fired. An unpark left over from an earlier wait only costs a look.
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

/// A destructor that waits for another greenlet while a panic or a kill unwinds would wait forever:
/// std counts panics by OS thread, so no other greenlet may run before the unwinding is over.
pub fn cannot_wait_while_unwinding() -> ! {
    uncooperative(|| {
        eprintln!("a greenlet that unwinds (a panic, a kill) cannot wait for another one");
    });
    std::process::abort();
}

/// Greenlets woken by another OS thread. One that is unparked from there while it is about to park
/// would be resumed by `may` from inside its own parking; so only the hub does it.
static WOKEN_OUTSIDE: Mutex<Vec<Coroutine>> = Mutex::new(Vec::new());

fn unpark_later(greenlet: &Coroutine) {
    locked(&WOKEN_OUTSIDE, |woken| woken.push(greenlet.clone()));
    ring();
}

/// Unparks the greenlets that another OS thread has woken; the hub calls it for that event.
pub fn unpark_woken_outside() {
    for greenlet in mem::take(&mut *lock(&WOKEN_OUTSIDE)) {
        greenlet.unpark();
    }
}

fn event() -> &'static EventFd {
    static BELL: OnceLock<EventFd> = OnceLock::new();
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let make = || EventFd::from_value_and_flags(0, flags);
    BELL.get_or_init(|| {
        make().expect("the hub needs a few descriptors; raise the limit (ulimit -n)")
    })
}

/// The descriptor that wakes the hub when `ring` was called. Watch it edge-triggered: every ring is
/// an event, and nobody has to read the count back.
pub fn bell() -> BorrowedFd<'static> {
    event().as_fd()
}

/// Gives the hub a turn.
pub fn ring() {
    // It fails only when the count is at its end, and then it has been rung.
    let _ = uncooperative(|| event().write(1));
}

/// What is known of one greenlet: was it killed, where is it parked, how long may it wait.
#[derive(Default)]
pub struct Life(Mutex<LifeState>);

#[derive(Default)]
struct LifeState {
    /// It stays: a greenlet that ignores one failed call is told by the next one.
    killed: bool,
    parked_on: Option<Arc<Waiter>>,
    /// The first of the `with_timeout`s around it whose time will be up.
    limit: Option<Cap>,
    /// How many `with_timeout`s are around it.
    depth: usize,
    /// The `with_timeout` that has ended a wait early, by its depth.
    cut_by: Option<usize>,
    /// std has panicked over the error of such a wait.
    std_panicked: bool,
}

#[derive(Clone, Copy)]
struct Cap {
    until: Instant,
    depth: usize,
}

may::coroutine_local!(static LIFE: RefCell<Option<Arc<Life>>> = RefCell::new(None));

impl Life {
    /// Makes this the life of the calling greenlet, which has just started.
    pub fn begin(self: &Arc<Self>) {
        LIFE.with(|life| *life.borrow_mut() = Some(self.clone()));
    }

    /// The life of the calling greenlet; none in an OS thread.
    pub fn current() -> Option<Arc<Self>> {
        if !coroutine::is_coroutine() {
            return None;
        }
        LIFE.with(|life| life.borrow().clone())
    }

    /// Ends the wait the greenlet is in, and every wait that it begins from now on.
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

    /// Why nothing new should be begun: it was killed, or a `with_timeout` has cut a wait.
    pub fn told(&self) -> Option<Wake> {
        locked(&self.0, |state| match (state.killed, state.cut_by) {
            (true, _) => Some(Wake::Killed),
            (false, Some(_)) => Some(Wake::OutOfTime),
            (false, None) => None,
        })
    }

    /// As `told`, for one that has not waited: its time may be up all the same.
    pub fn check(&self) -> Option<Wake> {
        locked(&self.0, |state| {
            if let Some(cap) = state.limit.filter(|cap| cap.until <= Instant::now()) {
                state.cut(cap);
            }
        });
        self.told()
    }

    /// Notes what the greenlet is about to park on, and tells how long it may. `Err` when it was
    /// killed before it got there. The note is left when the wait is over: by then the waiter has
    /// fired, and a kill that finds it so waits for the next one.
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

    /// A panic begins, in std's `Command` or elsewhere: is it over a wait that was ended early?
    pub fn note_panic(&self, of_command: bool) -> bool {
        let over_a_wait = of_command && self.told().is_some();
        locked(&self.0, |state| state.std_panicked = over_a_wait);
        over_a_wait
    }

    /// Was the panic that has just been caught std's own, over a wait that was ended early? Why?
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

/// Caps every wait of the calling greenlet, until the guard is dropped. An earlier cap stays.
/// None in an OS thread, whose waits cannot be ended early.
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

/// A cap on the waits of a greenlet; dropping it brings back the one before.
pub struct Limit {
    life: Arc<Life>,
    outer: Option<Cap>,
    depth: usize,
}

impl Limit {
    /// Has it ended a wait early?
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

/// Is the caller a greenlet? Not in a forked child, which has no hub, and not in bookkeeping.
#[inline(never)]
pub fn is_greenlet() -> bool {
    coroutine::is_coroutine() && !IN_HUB.get() && !fork::in_child()
}

/// Is the caller a greenlet that may be parked now? Not while it unwinds: std counts panics by OS
/// thread, and another greenlet would believe that it is the one panicking.
pub fn in_greenlet() -> bool {
    is_greenlet() && !thread::panicking()
}

/// Runs bookkeeping whose calls to libc must stay what they are: nothing in `f` parks.
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

/// Is the calling thread in the middle of bookkeeping?
#[inline(never)]
pub fn in_bookkeeping() -> bool {
    IN_HUB.get()
}

/// Bookkeeping under a lock. A lock of the machinery is only ever held here: its waits are real
/// and short, and nothing is parked while it is held.
pub fn locked<T, R>(mutex: &Mutex<T>, f: impl FnOnce(&mut T) -> R) -> R {
    uncooperative(|| f(&mut lock(mutex)))
}

/// The lock, also when its last holder panicked: what it guards here is always whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
