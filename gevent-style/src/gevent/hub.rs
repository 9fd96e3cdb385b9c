//! The hub: one coroutine that owns the event loop, as gevent's Hub greenlet owns libev's.
//! A greenlet that would block gives the hub a `Waiter` (a descriptor, a deadline) and is parked.
//!
//! The loop is an epoll set of our own, nested in the selector of `may`. So timeouts, several
//! waiters on one descriptor and a kill all end in one place. No timed call of `may` is used: it
//! would resume a greenlet on may's timer thread, and then two threads would run greenlets.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use may::coroutine;
use may::io::{CoIo, WaitIo};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::gevent::waiter::{
    self, Life, OnKill, Waiter, Wake, cannot_wait_while_unwinding, lock, locked, uncooperative,
};
use crate::gevent::{fork, overflow, sys, worker};

/// How much of its stack a greenlet may use, in machine words: 256 KiB. A page takes memory only
/// when it is touched. An unmodified HTTP client in a debug build touches 92 KiB.
const STACK_WORDS: usize = 0x8000;
/// Stacks made before the first greenlet starts. Few, so that a small program starts quickly.
const STACKS_AT_START: usize = 16;
/// Stacks of finished greenlets that are kept for new ones.
const STACKS_KEPT: usize = 1_000;
/// How long the worker sleeps at most if nothing happens; the default is 10 ms.
const IDLE: Duration = Duration::from_secs(1);
/// How long a destructor may wait while its greenlet unwinds. No other greenlet runs then.
pub const UNWINDING: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });
/// How many events are taken from the kernel in one turn.
const EVENTS: usize = 256;

pub const READABLE: u32 = libc::EPOLLIN as u32;
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
const BROKEN: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// The keys of the hub's own two descriptors; every other key is the descriptor itself.
const TIMER: u64 = u64::MAX;
const WAKEUP: u64 = u64::MAX - 1;

struct Hub {
    epoll: Epoll,
    timer: TimerFd,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    /// The waiters of each descriptor, indexed by it.
    descriptors: Vec<Watch>,
    timers: BTreeMap<(Instant, u64), Arc<Waiter>>,
    /// Makes the key of a timer unique; equal deadlines fire in the order in which they were set.
    timers_set: u64,
    /// The deadline of the kernel's timer.
    armed: Option<Instant>,
    /// `sleep(0)`: woken in the next turn, after all greenlets that can run and after IO.
    soon: Vec<Arc<Waiter>>,
    counters: Counters,
}

#[derive(Default)]
struct Watch {
    /// Was added to the epoll set. It may no longer be there: closing a descriptor removes it.
    known: bool,
    waiting: Vec<(u32, Arc<Waiter>)>,
}

/// What the hub has done since the program began.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    /// Turns of the loop.
    pub turns: u64,
    /// Descriptors that became ready.
    pub events: u64,
    /// Timers that fired.
    pub expired: u64,
    /// Waits of all kinds.
    pub waits: u64,
}

/// Configures `may` and starts the hub, once. The first spawn or wait calls it.
pub fn start() {
    hub();
}

/// The hub's counters.
pub fn counters() -> Counters {
    locked(&hub().waits, |waits| waits.counters)
}

fn hub() -> &'static Hub {
    static HUB: OnceLock<Hub> = OnceLock::new();
    static START: Once = Once::new();
    fork::refuse_in_child();
    let hub = HUB.get_or_init(|| uncooperative(configure_and_open));
    START.call_once(|| uncooperative(|| spawn_hub(hub)));
    hub
}

fn configure_and_open() -> Hub {
    fork::mark_this_process();
    let config = may::config();
    // One worker: greenlets never run at the same time and never change threads.
    config.set_workers(1);
    config.set_worker_pin(false);
    config.set_stack_size(STACK_WORDS);
    config.set_pool_capacity(STACKS_AT_START);
    config.set_timeout_ns(IDLE.as_nanos() as u64);
    Hub::open().expect("the hub needs a few descriptors; raise the limit (ulimit -n)")
}

#[expect(unsafe_code, reason = "may::coroutine::spawn is unsafe")]
fn spawn_hub(hub: &'static Hub) {
    let run = move || {
        let _ = catch_unwind(AssertUnwindSafe(|| hub.run()));
        // Without its hub no greenlet would ever wake up again.
        std::process::abort()
    };
    // SAFETY: the hub runs on the only worker, so a thread-local is always the same one, and its
    // stack is as large as that of a greenlet.
    drop(unsafe { coroutine::spawn(run) });
    may::config().set_pool_capacity(STACKS_KEPT);
    overflow::watch();
}

impl Hub {
    fn open() -> nix::Result<Self> {
        let hub = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            timer: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
            )?,
            waits: Mutex::default(),
        };
        hub.epoll.add(&hub.timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        hub.epoll.add(waiter::wakeups(), EpollEvent::new(edge, WAKEUP))?;
        Ok(hub)
    }

    fn run(&self) {
        uncooperative(worker::learn);
        let epoll = Polled(self.epoll.0.as_raw_fd());
        let nested = uncooperative(|| CoIo::new(epoll)).expect("an epoll set can be polled");
        loop {
            // A full batch may have left events in the set, and there would be no second edge for
            // them.
            while uncooperative(|| self.turn()) == EVENTS {}
            nested.wait_io();
        }
    }

    /// One turn: takes the ready events from the kernel, and fires the expired timers.
    fn turn(&self) -> usize {
        let mut events = [EpollEvent::empty(); EVENTS];
        // The only possible failure is a signal; the next turn tries again.
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let mut waits = lock(&self.waits);
        waits.counters.turns += 1;
        for event in &events[..ready] {
            match event.data() {
                TIMER => {
                    // Reads the count, so that the descriptor is no longer readable.
                    let _ = self.timer.wait();
                    waits.armed = None;
                }
                WAKEUP => waits.wake_soon(),
                descriptor => {
                    let events = event.events().bits() as u32;
                    self.descriptor_ready(&mut waits, descriptor as RawFd, events);
                }
            }
        }
        waits.fire_expired(Instant::now());
        self.arm_timer(&mut waits);
        ready
    }

    fn descriptor_ready(&self, waits: &mut Waits, fd: RawFd, events: u32) {
        waits.counters.events += 1;
        let watch = waits.watch(fd);
        watch.waiting.retain(|(wanted, waiter)| {
            let ready = events & (wanted | BROKEN) != 0;
            if ready {
                waiter.wake();
            }
            !ready
        });
        if !watch.waiting.is_empty() && self.arm(watch, fd).is_err() {
            // The retried call finds the error of the descriptor and returns it.
            for (_, waiter) in watch.waiting.drain(..) {
                waiter.wake();
            }
        }
    }

    /// Asks the kernel for one event for all waiters on `fd`.
    fn arm(&self, watch: &mut Watch, fd: RawFd) -> nix::Result<()> {
        let wanted = watch.waiting.iter().fold(0, |all, (mask, _)| all | mask);
        let flags = EpollFlags::from_bits_truncate(wanted as i32) | EpollFlags::EPOLLONESHOT;
        let event = EpollEvent::new(flags, fd as u64);
        let add = || with_number(fd, |fd| self.epoll.add(fd, event));
        let modify = || with_number(fd, |fd| self.epoll.modify(fd, &mut { event }));
        if std::mem::replace(&mut watch.known, true) {
            modify().or_else(|error| if error == Errno::ENOENT { add() } else { Err(error) })
        } else {
            add().or_else(|error| if error == Errno::EEXIST { modify() } else { Err(error) })
        }
    }

    fn arm_timer(&self, waits: &mut Waits) {
        let Some((&(first, _), _)) = waits.timers.first_key_value() else {
            return;
        };
        if waits.armed.is_none_or(|armed| first < armed) {
            waits.armed = Some(first);
            // All zero would disarm the timer.
            let wait = first.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let once = Expiration::OneShot(TimeSpec::from_duration(wait));
            let set = self.timer.set(once, TimerSetTimeFlags::empty());
            set.expect("a time from now is a time");
        }
    }

    /// Registers a wait: what it waits for, and until when.
    fn begin(&self, wait: &Wait, waiter: &Arc<Waiter>) -> io::Result<Option<(Instant, u64)>> {
        let mut waits = lock(&self.waits);
        waits.counters.waits += 1;
        for (i, &(fd, mask)) in wait.on.iter().enumerate() {
            let watch = waits.watch(fd);
            watch.waiting.push((mask, waiter.clone()));
            if let Err(error) = self.arm(watch, fd) {
                self.forget(&mut waits, &wait.on[..=i], waiter);
                return Err(error.into());
            }
        }
        let timer = wait.until.map(|until| waits.set_timer(until, waiter));
        self.arm_timer(&mut waits);
        Ok(timer)
    }

    fn end(&self, wait: &Wait, waiter: &Arc<Waiter>, timer: Option<(Instant, u64)>) {
        let mut waits = lock(&self.waits);
        if let Some(key) = timer {
            waits.timers.remove(&key);
        }
        self.forget(&mut waits, wait.on, waiter);
    }

    /// Removes a waiter. A descriptor without waiters is removed from the epoll set: a later
    /// descriptor of the same number would get its event.
    fn forget(&self, waits: &mut Waits, on: &[(RawFd, u32)], waiter: &Arc<Waiter>) {
        for &(fd, _) in on {
            let watch = waits.watch(fd);
            let before = watch.waiting.len();
            watch.waiting.retain(|(_, other)| !Arc::ptr_eq(other, waiter));
            if watch.waiting.is_empty() && before > 0 {
                watch.known = false;
                // It fails if the descriptor was closed, or never was in the set.
                let _ = with_number(fd, |fd| self.epoll.delete(fd));
            }
        }
    }
}

impl Waits {
    fn watch(&mut self, fd: RawFd) -> &mut Watch {
        let index = usize::try_from(fd).expect("a call on a negative descriptor fails at once");
        if self.descriptors.len() <= index {
            self.descriptors.resize_with(index + 1, Watch::default);
        }
        &mut self.descriptors[index]
    }

    fn set_timer(&mut self, until: Instant, waiter: &Arc<Waiter>) -> (Instant, u64) {
        self.timers_set += 1;
        let key = (until, self.timers_set);
        self.timers.insert(key, waiter.clone());
        key
    }

    fn wake_soon(&mut self) {
        for waiter in self.soon.drain(..) {
            waiter.wake();
        }
        waiter::unpark_woken_outside();
    }

    fn fire_expired(&mut self, now: Instant) {
        while let Some(timer) = self.timers.first_entry() {
            if timer.key().0 > now {
                break;
            }
            timer.remove().time_out();
            self.counters.expired += 1;
        }
    }
}

/// What a greenlet waits for.
pub struct Wait<'a> {
    /// Descriptors, each with the events that end the wait: `READABLE`, `WRITABLE`. After the wait
    /// one of them may be ready: the waiter has to check.
    pub on: &'a [(RawFd, u32)],
    pub until: Option<Instant>,
    pub on_kill: OnKill,
}

impl Wait<'_> {
    /// Parks the calling greenlet or thread until one of the descriptors is ready, the time is up,
    /// the waiter is woken, or the greenlet is killed.
    ///
    /// # Errors
    ///
    /// The error of epoll for a descriptor: `EPERM` means a regular file, which is always ready.
    pub fn park(&self, waiter: &Arc<Waiter>) -> io::Result<Wake> {
        let life = match self.on_kill {
            OnKill::Defer => None,
            OnKill::Report | OnKill::EndEarly => Life::current(),
        };
        let Some(life) = life else { return self.park_until_fired(waiter) };
        let limit = match life.park_on(waiter) {
            Ok(limit) => limit,
            Err(killed) => {
                // A loop of waits that end at once must not stop all other greenlets.
                yield_now();
                return Ok(killed);
            }
        };
        // A `with_timeout` around this limits every wait.
        let capped = limit.filter(|limit| self.until.is_none_or(|until| *limit < until));
        let wait = Wait { until: capped.or(self.until), ..*self };
        match wait.park_until_fired(waiter)? {
            Wake::TimedOut if capped.is_some() => {
                life.cut();
                Ok(Wake::OutOfTime)
            }
            woken => Ok(woken),
        }
    }

    fn park_until_fired(&self, waiter: &Arc<Waiter>) -> io::Result<Wake> {
        if coroutine::is_coroutine() && thread::panicking() {
            return Ok(self.stand_still());
        }
        if self.on.is_empty() && self.until.is_none() {
            return Ok(waiter.park());
        }
        let hub = hub();
        let timer = uncooperative(|| hub.begin(self, waiter))?;
        let woken = waiter.park();
        // If a single descriptor became ready, the hub has already removed the waiter.
        if woken != Wake::Ready || timer.is_some() || self.on.len() > 1 {
            uncooperative(|| hub.end(self, waiter, timer));
        }
        Ok(woken)
    }

    /// The wait of a destructor while its greenlet unwinds: it really blocks, and no greenlet runs.
    /// If it waits for something that only another greenlet can do, this ends the program.
    fn stand_still(&self) -> Wake {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if self.on.is_empty() => uncooperative(|| thread::sleep(left)),
            None if self.on.is_empty() => cannot_wait_while_unwinding(),
            _ => {
                let most = left.map_or(UNWINDING, |left| left.min(UNWINDING));
                let milliseconds = most.as_millis() as i32 + 1;
                if sys::poll_for_real(self.on, milliseconds) {
                    return Wake::Ready;
                }
                if left.is_none_or(|left| left > UNWINDING) {
                    cannot_wait_while_unwinding();
                }
            }
        }
        Wake::TimedOut
    }
}

/// Parks until the waiter is woken or the time is up; there is no descriptor that could fail.
pub fn park(waiter: &Arc<Waiter>, until: Option<Instant>, on_kill: OnKill) -> Wake {
    let wait = Wait { on: &[], until, on_kill };
    wait.park(waiter).expect("only a descriptor can make a wait fail")
}

/// Parks the calling greenlet for `duration`; `on_kill` says what ends the sleep early.
pub fn sleep(duration: Duration, on_kill: OnKill) -> Wake {
    if duration.is_zero() {
        yield_now();
        let told = Life::current().and_then(|life| life.check());
        return told.unwrap_or(Wake::TimedOut);
    }
    let woken = park(&Waiter::new(), Instant::now().checked_add(duration), on_kill);
    if woken != Wake::TimedOut {
        // A loop of sleeps that end early must not stop all other greenlets.
        yield_now();
    }
    woken
}

/// `gevent.sleep(0)`: gives a turn to all other greenlets and to all ready IO.
pub fn yield_now() {
    if thread::panicking() {
        return;
    }
    let hub = hub();
    let waiter = Waiter::new();
    let first = locked(&hub.waits, |waits| {
        waits.soon.push(waiter.clone());
        waits.soon.len() == 1
    });
    if first {
        waiter::wake_hub();
    }
    waiter.park();
}

/// The epoll set in the form that `may` needs.
struct Polled(RawFd);

impl AsRawFd for Polled {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Tells epoll about a descriptor that the caller waits for. It may belong to C code.
fn with_number(fd: RawFd, tell: impl Fn(BorrowedFd) -> nix::Result<()>) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "a descriptor that this code does not own")]
    // SAFETY: it is not -1. It is borrowed for one call of epoll, which fails on a closed one.
    tell(unsafe { BorrowedFd::borrow_raw(fd) })
}
