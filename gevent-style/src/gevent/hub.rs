//! The hub: one coroutine that owns the event loop, as gevent's Hub greenlet owns libev's.
//! A greenlet that would block hands the hub a `Waiter` (a descriptor, a deadline) and is parked.
//!
//! The loop is an epoll set of our own, nested in the selector of `may`, so that timeouts, several
//! waiters on one descriptor and a kill all end in one place. Nothing timed of `may` is used
//! anywhere: it would resume a greenlet on may's timer thread, and then two threads run greenlets.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use may::coroutine::{self, Coroutine};
use may::io::{CoIo, WaitIo};

use crate::gevent::monkey;

/// What a greenlet may use of its stack, in machine words: 256 KiB. A page is only taken from the
/// machine when it is touched; an unmodified HTTP client in a debug build touches 92 KiB.
const STACK_WORDS: usize = 0x8000;
/// Stacks made before the first greenlet starts. Few, so that a small program starts at once.
const STACKS_AT_START: usize = 16;
/// Stacks kept for the next greenlets once theirs have finished.
const STACKS_KEPT: usize = 1_000;
/// How long the worker sleeps at most when nothing happens; the default is 10 ms.
const IDLE: Duration = Duration::from_secs(1);
/// Helper threads for what cannot be made cooperative; gevent's thread pool has ten as well.
pub const HELPERS: usize = 10;
/// Events taken from the kernel in one turn.
const EVENTS: usize = 256;

pub const READABLE: u32 = libc::EPOLLIN as u32;
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
const BROKEN: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// The keys of the hub's own two descriptors; every other key is the descriptor itself.
const TIMER: u64 = u64::MAX;
const SOON: u64 = u64::MAX - 1;

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
            must_be_able_to_park();
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

    fn fire(&self, reason: u8) -> bool {
        let first = self
            .reason
            .compare_exchange(WAITING, reason, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if first {
            match &self.parked {
                Parked::Greenlet(greenlet) if coroutine::is_coroutine() => greenlet.unpark(),
                Parked::Greenlet(greenlet) => hub().unpark_later(greenlet),
                Parked::Thread(thread) => thread.unpark(),
            }
        }
        first
    }

    /// Parks until somebody fired. An unpark left over from an earlier wait only costs a look.
    fn park(&self) -> Wake {
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

/// A destructor that waits for another greenlet while a panic unwinds would wait forever: std
/// counts panics by OS thread, so no other greenlet may run before the unwinding is over.
fn must_be_able_to_park() {
    if thread::panicking() {
        eprintln!("a greenlet that is panicking cannot wait for another one");
        std::process::abort();
    }
}

/// What is known of one greenlet: was it killed, where is it parked, how long may it wait.
#[derive(Default)]
pub struct Life(Mutex<LifeState>);

#[derive(Default)]
struct LifeState {
    kill: Kill,
    parked_on: Option<Arc<Waiter>>,
    limit: Option<Instant>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kill {
    #[default]
    None,
    Sent,
    /// A wait that could not report it has ended early.
    Noticed,
}

may::coroutine_local!(static LIFE: RefCell<Option<Arc<Life>>> = RefCell::new(None));

impl Life {
    /// Makes this the life of the calling greenlet, which has just started.
    pub fn begin(self: &Arc<Self>) {
        LIFE.with(|life| *life.borrow_mut() = Some(self.clone()));
    }

    /// The life of the calling greenlet; none in an OS thread.
    fn current() -> Option<Arc<Self>> {
        if !coroutine::is_coroutine() {
            return None;
        }
        LIFE.with(|life| life.borrow().clone())
    }

    /// Ends the wait the greenlet is in, or the next one. Reported once.
    pub fn kill(&self) {
        locked(&self.0, |state| {
            state.kill = Kill::Sent;
            if let Some(waiter) = &state.parked_on {
                waiter.fire(KILLED);
            }
        });
    }

    /// Takes a kill that nobody has been told of yet.
    pub fn take_kill(&self) -> bool {
        locked(&self.0, |state| mem::take(&mut state.kill) != Kill::None)
    }

    fn limit(&self) -> Option<Instant> {
        locked(&self.0, |state| state.limit)
    }

    fn set_limit(&self, limit: Option<Instant>) {
        locked(&self.0, |state| state.limit = limit);
    }

    /// Notes what the greenlet is about to park on, and tells how long it may. `Err` when it was
    /// killed before it got there. The note is left when the wait is over: by then the waiter has
    /// fired, and a kill that finds it so waits for the next one.
    fn park_on(&self, waiter: &Arc<Waiter>, on_kill: OnKill) -> Result<Option<Instant>, Wake> {
        locked(&self.0, |state| {
            match (state.kill, on_kill) {
                (Kill::Sent | Kill::Noticed, OnKill::Report) => state.kill = Kill::None,
                (Kill::Sent, OnKill::EndEarly) => state.kill = Kill::Noticed,
                _ => {
                    state.parked_on = Some(waiter.clone());
                    return Ok(state.limit);
                }
            }
            Err(Wake::Killed)
        })
    }

    /// A kill has ended a wait, which reports it or leaves that to the next one.
    fn killed(&self, on_kill: OnKill) {
        locked(&self.0, |state| {
            state.kill = match on_kill {
                OnKill::Report => Kill::None,
                OnKill::EndEarly | OnKill::Defer => Kill::Noticed,
            };
        });
    }
}

/// Caps every wait of the calling greenlet, until the guard is dropped. An earlier cap stays.
pub fn limit(until: Instant) -> Limit {
    let life = Life::current();
    let outer = life.as_ref().and_then(|life| life.limit());
    if let Some(life) = &life {
        life.set_limit(Some(outer.map_or(until, |outer| outer.min(until))));
    }
    Limit { life, outer }
}

/// A cap on the waits of a greenlet; dropping it brings back the one before.
pub struct Limit {
    life: Option<Arc<Life>>,
    outer: Option<Instant>,
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(life) = &self.life {
            life.set_limit(self.outer);
        }
    }
}

thread_local!(static IN_HUB: Cell<bool> = const { Cell::new(false) });

/// Is the caller a greenlet that may be parked now? Not while a panic unwinds: std counts panics
/// by OS thread, and another greenlet would believe that it is the one panicking.
#[inline(never)]
pub fn in_greenlet() -> bool {
    coroutine::is_coroutine() && !IN_HUB.get() && !thread::panicking()
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
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Hub {
    epoll: OwnedFd,
    timer: OwnedFd,
    soon: OwnedFd,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    /// Who waits for a descriptor, indexed by it.
    descriptors: Vec<Watch>,
    timers: BTreeMap<(Instant, u64), Arc<Waiter>>,
    /// Makes the key of a timer unique, and equal deadlines fire in the order they were set.
    timers_set: u64,
    /// What the kernel's timer is set to.
    armed: Option<Instant>,
    /// `sleep(0)`: woken in the next turn, after everybody who can run and after IO.
    soon: Vec<Arc<Waiter>>,
    /// To be unparked for an OS thread. A greenlet that another thread unparks while it is about
    /// to park would be resumed by `may` from inside its own parking; so only the worker does it.
    woken_outside: Vec<Coroutine>,
    counters: Counters,
}

#[derive(Default)]
struct Watch {
    /// Has been in the epoll set. It may have left since: closing a descriptor takes it out.
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
    /// Waits, whatever for.
    pub waits: u64,
}

/// Configures `may` and starts the hub, once; whoever spawns or waits first calls it.
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
    let hub = HUB.get_or_init(|| uncooperative(configure_and_open));
    START.call_once(|| uncooperative(|| spawn_hub(hub)));
    hub
}

fn configure_and_open() -> Hub {
    let config = may::config();
    // One worker: greenlets never run at the same time and never change threads.
    config.set_workers(1);
    config.set_worker_pin(false);
    config.set_stack_size(STACK_WORDS);
    config.set_pool_capacity(STACKS_AT_START);
    config.set_timeout_ns(IDLE.as_nanos() as u64);
    Hub::open().expect("the hub needs three descriptors; raise the limit (ulimit -n)")
}

#[expect(unsafe_code, reason = "may::coroutine::spawn is unsafe")]
fn spawn_hub(hub: &'static Hub) {
    let run = move || {
        let _ = catch_unwind(AssertUnwindSafe(|| hub.run()));
        // Without its hub nobody would ever wake up again.
        std::process::abort()
    };
    // SAFETY: the hub runs on the one worker, so a thread-local it uses is always the same one,
    // and its stack is as large as any greenlet's.
    drop(unsafe { coroutine::spawn(run) });
    may::config().set_pool_capacity(STACKS_KEPT);
}

impl Hub {
    fn open() -> io::Result<Self> {
        let hub = Self {
            epoll: descriptor(epoll_create)?,
            timer: descriptor(timer_create)?,
            soon: descriptor(event_create)?,
            waits: Mutex::default(),
        };
        hub.control(libc::EPOLL_CTL_ADD, hub.timer.as_raw_fd(), READABLE, TIMER)?;
        // Edge-triggered: every write is an event, and nobody has to read the count back.
        let edge = READABLE | libc::EPOLLET as u32;
        hub.control(libc::EPOLL_CTL_ADD, hub.soon.as_raw_fd(), edge, SOON)?;
        Ok(hub)
    }

    fn run(&self) {
        let epoll = Epoll(self.epoll.as_raw_fd());
        let nested = uncooperative(|| CoIo::new(epoll)).expect("an epoll set can be polled");
        loop {
            // A full batch may have left something behind, and a turn gives no second edge.
            while uncooperative(|| self.turn()) == EVENTS {}
            nested.wait_io();
        }
    }

    /// One turn: takes what is ready from the kernel, fires what has expired.
    fn turn(&self) -> usize {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let ready = self.take_events(&mut events);
        let mut waits = lock(&self.waits);
        waits.counters.turns += 1;
        for event in &events[..ready] {
            match event.u64 {
                TIMER => {
                    clear(&self.timer);
                    waits.armed = None;
                }
                SOON => waits.wake_soon(),
                descriptor => self.descriptor_ready(&mut waits, descriptor as RawFd, event.events),
            }
        }
        waits.fire_expired(Instant::now());
        self.arm_timer(&mut waits);
        ready
    }

    #[expect(unsafe_code, reason = "epoll_wait")]
    fn take_events(&self, events: &mut [libc::epoll_event; EVENTS]) -> usize {
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: `events` has room for EVENTS entries.
        let n = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), EVENTS as i32, 0) };
        // The only failure left is a signal; the next turn asks again.
        usize::try_from(n).unwrap_or(0)
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
            // Its retry finds out what is wrong with the descriptor and says so.
            for (_, waiter) in watch.waiting.drain(..) {
                waiter.wake();
            }
        }
    }

    /// Asks the kernel for one event for everybody who waits on `fd`.
    fn arm(&self, watch: &mut Watch, fd: RawFd) -> io::Result<()> {
        let wanted = watch.waiting.iter().fold(0, |all, (mask, _)| all | mask);
        let events = wanted | libc::EPOLLONESHOT as u32;
        let (first, second, unless) = if mem::replace(&mut watch.known, true) {
            (libc::EPOLL_CTL_MOD, libc::EPOLL_CTL_ADD, libc::ENOENT)
        } else {
            (libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_MOD, libc::EEXIST)
        };
        match self.control(first, fd, events, fd as u64) {
            Err(error) if error.raw_os_error() == Some(unless) => {
                self.control(second, fd, events, fd as u64)
            }
            result => result,
        }
    }

    #[expect(unsafe_code, reason = "epoll_ctl")]
    fn control(&self, how: i32, fd: RawFd, events: u32, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: `event` outlives the call, which copies it.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), how, fd, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Wakes a greenlet for a caller in another OS thread: the hub does it, in its next turn.
    fn unpark_later(&self, greenlet: &Coroutine) {
        locked(&self.waits, |waits| {
            waits.woken_outside.push(greenlet.clone());
        });
        signal(&self.soon);
    }

    fn arm_timer(&self, waits: &mut Waits) {
        let Some((&(first, _), _)) = waits.timers.first_key_value() else {
            return;
        };
        if waits.armed.is_none_or(|armed| first < armed) {
            waits.armed = Some(first);
            set_timer(&self.timer, first.saturating_duration_since(Instant::now()));
        }
    }

    /// Enters a wait in the books: what it waits for, and until when.
    fn begin(&self, wait: &Wait, waiter: &Arc<Waiter>) -> io::Result<Option<(Instant, u64)>> {
        let mut waits = lock(&self.waits);
        waits.counters.waits += 1;
        for (i, &(fd, mask)) in wait.on.iter().enumerate() {
            let watch = waits.watch(fd);
            watch.waiting.push((mask, waiter.clone()));
            if let Err(error) = self.arm(watch, fd) {
                waits.forget(&wait.on[..=i], waiter);
                return Err(error);
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
        waits.forget(wait.on, waiter);
    }
}

impl Waits {
    fn watch(&mut self, fd: RawFd) -> &mut Watch {
        let index = usize::try_from(fd).expect("epoll has refused a negative descriptor");
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
        for greenlet in self.woken_outside.drain(..) {
            greenlet.unpark();
        }
    }

    fn fire_expired(&mut self, now: Instant) {
        while let Some(timer) = self.timers.first_entry() {
            if timer.key().0 > now {
                break;
            }
            timer.remove().fire(TIMED_OUT);
            self.counters.expired += 1;
        }
    }

    fn forget(&mut self, on: &[(RawFd, u32)], waiter: &Arc<Waiter>) {
        for &(fd, _) in on {
            let waiting = &mut self.watch(fd).waiting;
            waiting.retain(|(_, other)| !Arc::ptr_eq(other, waiter));
        }
    }
}

/// What a greenlet waits for.
pub struct Wait<'a> {
    /// Descriptors, each with the events that end the wait: `READABLE`, `WRITABLE`.
    pub on: &'a [(RawFd, u32)],
    pub until: Option<Instant>,
    pub on_kill: OnKill,
}

impl Wait<'_> {
    /// Parks the calling greenlet or thread until one of the descriptors is ready, the time is
    /// up, somebody wakes the waiter, or the greenlet is killed.
    ///
    /// # Errors
    ///
    /// What epoll says of a descriptor: `EPERM` is a regular file, which is always ready.
    pub fn park(&self, waiter: &Arc<Waiter>) -> io::Result<Wake> {
        let life = match self.on_kill {
            OnKill::Defer => None,
            OnKill::Report | OnKill::EndEarly => Life::current(),
        };
        let Some(life) = life else { return self.park_until_fired(waiter) };
        let limit = match life.park_on(waiter, self.on_kill) {
            Ok(limit) => limit,
            Err(killed) => return Ok(killed),
        };
        // A with_timeout around us caps every wait.
        let capped = limit.filter(|limit| self.until.is_none_or(|until| *limit < until));
        let wait = Wait { until: capped.or(self.until), ..*self };
        match wait.park_until_fired(waiter)? {
            Wake::TimedOut if capped.is_some() => Ok(Wake::OutOfTime),
            Wake::Killed => {
                life.killed(self.on_kill);
                Ok(Wake::Killed)
            }
            woken => Ok(woken),
        }
    }

    fn park_until_fired(&self, waiter: &Arc<Waiter>) -> io::Result<Wake> {
        if self.on.is_empty() && self.until.is_none() {
            return Ok(waiter.park());
        }
        let hub = hub();
        let timer = uncooperative(|| hub.begin(self, waiter))?;
        let woken = waiter.park();
        // The hub has already struck out a single descriptor that became ready.
        if woken != Wake::Ready || timer.is_some() || self.on.len() > 1 {
            uncooperative(|| hub.end(self, waiter, timer));
        }
        Ok(woken)
    }
}

/// Parks until the waiter is woken or the time is up; there is no descriptor that could fail.
pub fn park(waiter: &Arc<Waiter>, until: Option<Instant>, on_kill: OnKill) -> Wake {
    let wait = Wait { on: &[], until, on_kill };
    wait.park(waiter).expect("only a descriptor can make a wait fail")
}

/// Parks the calling greenlet for so long; `on_kill` says what ends the sleep early.
pub fn sleep(duration: Duration, on_kill: OnKill) -> Wake {
    if duration.is_zero() {
        yield_now();
        return Wake::TimedOut;
    }
    let woken = park(&Waiter::new(), Instant::now().checked_add(duration), on_kill);
    if woken != Wake::TimedOut {
        // A loop of sleeps that end early must not keep everybody else from running.
        yield_now();
    }
    woken
}

/// `gevent.sleep(0)`: lets every other greenlet and what is ready to be read have a turn.
pub fn yield_now() {
    let hub = hub();
    let waiter = Waiter::new();
    let first = locked(&hub.waits, |waits| {
        waits.soon.push(waiter.clone());
        waits.soon.len() == 1
    });
    if first {
        signal(&hub.soon);
    }
    waiter.park();
}

/// Runs `f` on a helper OS thread, of which there are ten at most, and parks the greenlet until
/// it is done: gevent's `threadpool.apply`. A panic in `f` goes on in the caller.
pub fn offload<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if !in_greenlet() {
        return f();
    }
    run_elsewhere(f, Helpers::run)
}

/// As `offload`, on a thread of its own: for what may take as long as another thread likes and
/// must not keep one of the ten.
pub fn offload_unbounded<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if !in_greenlet() {
        return f();
    }
    run_elsewhere(f, |job| {
        let job = Arc::new(Mutex::new(Some(job)));
        let theirs = job.clone();
        let started = thread::Builder::new().spawn(move || run_once(&theirs));
        // No thread to be had: the call blocks the hub, as it does unpatched, and is right.
        if started.is_err() {
            run_once(&job);
        }
    })
}

type Job = Box<dyn FnOnce() + Send>;

fn run_once(job: &Mutex<Option<Job>>) {
    if let Some(job) = locked(job, Option::take) {
        job();
    }
}

fn run_elsewhere<R: Send>(f: impl FnOnce() -> R + Send, start: impl FnOnce(Job)) -> R {
    let waiter = Waiter::new();
    let result: Mutex<Option<Result<R, Box<dyn Any + Send>>>> = Mutex::new(None);
    {
        let (result, waiter) = (&result, waiter.clone());
        let job = Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(f));
            locked(result, |result| *result = Some(outcome));
            waiter.wake();
        });
        let job = outlive(job);
        uncooperative(|| start(job));
    }
    // Whatever `job` borrows stays alive here until it has run: a kill is put off.
    park(&waiter, None, OnKill::Defer);
    let outcome = locked(&result, Option::take);
    match outcome.expect("the waiter is woken after the result is there") {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

#[expect(unsafe_code, reason = "a job that borrows from a parked stack")]
fn outlive<'a>(job: Box<dyn FnOnce() + Send + 'a>) -> Job {
    // SAFETY: only the lifetime changes. The one caller does not return before the job has run,
    // whatever happens: it parks with `OnKill::Defer` and cannot be unwound while parked.
    unsafe { mem::transmute::<Box<dyn FnOnce() + Send + 'a>, Job>(job) }
}

/// The helper threads: started when there is more to do than threads, and kept.
#[derive(Default)]
struct Helpers {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static HELPING: Mutex<Helpers> = Mutex::new(Helpers { jobs: VecDeque::new(), threads: 0, idle: 0 });
static MORE_TO_DO: Condvar = Condvar::new();

impl Helpers {
    fn run(job: Job) {
        let mut helpers = lock(&HELPING);
        helpers.jobs.push_back(job);
        if helpers.jobs.len() > helpers.idle && helpers.threads < HELPERS {
            let started = thread::Builder::new().name("helper".into()).spawn(Self::help);
            helpers.threads += usize::from(started.is_ok());
        }
        // No thread to be had: the call blocks the hub, as it does unpatched, and is right.
        if helpers.threads == 0
            && let Some(job) = helpers.jobs.pop_front()
        {
            drop(helpers);
            job();
            return;
        }
        MORE_TO_DO.notify_one();
    }

    fn help() {
        let mut helpers = lock(&HELPING);
        loop {
            if let Some(job) = helpers.jobs.pop_front() {
                drop(helpers);
                job();
                helpers = lock(&HELPING);
            } else {
                helpers.idle += 1;
                helpers = MORE_TO_DO.wait(helpers).unwrap_or_else(PoisonError::into_inner);
                helpers.idle -= 1;
            }
        }
    }
}

struct Epoll(RawFd);

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

fn epoll_create() -> RawFd {
    #[expect(unsafe_code, reason = "epoll_create1")]
    // SAFETY: takes no pointer.
    unsafe {
        libc::epoll_create1(libc::EPOLL_CLOEXEC)
    }
}

fn timer_create() -> RawFd {
    let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
    #[expect(unsafe_code, reason = "timerfd_create")]
    // SAFETY: takes no pointer.
    unsafe {
        libc::timerfd_create(libc::CLOCK_MONOTONIC, flags)
    }
}

fn event_create() -> RawFd {
    #[expect(unsafe_code, reason = "eventfd")]
    // SAFETY: takes no pointer.
    unsafe {
        libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
    }
}

#[expect(unsafe_code, reason = "owning a descriptor that libc made")]
fn descriptor(make: impl FnOnce() -> RawFd) -> io::Result<OwnedFd> {
    let fd = make();
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "timerfd_settime")]
fn set_timer(timer: &OwnedFd, wait: Duration) {
    // All zero would switch the timer off.
    let wait = wait.max(Duration::from_nanos(1));
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let spec = libc::itimerspec {
        it_interval: never,
        it_value: libc::timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        },
    };
    // SAFETY: `spec` outlives the call; no old value is asked for.
    unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const spec, ptr::null_mut()) };
}

/// Reads the count back, so that a level-triggered descriptor is quiet again.
fn clear(fd: &OwnedFd) {
    monkey::read_for_real(fd, &mut [0; 8]);
}

fn signal(fd: &OwnedFd) {
    monkey::write_for_real(fd, &1_u64.to_ne_bytes());
}
