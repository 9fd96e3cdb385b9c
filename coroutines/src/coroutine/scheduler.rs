//! Greenlets that take turns on one thread: a trampoline over `epoll`.
//!
//! A task is a coroutine with a stack of its own. It runs until it waits; then it bounces back to
//! the trampoline, which resumes whoever is next in line. First in, first out: the same program
//! takes the same turns on every run. Nothing here is `Send`, so the compiler proves that there is
//! one thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use corosensei::stack::{DefaultStack, Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};

/// Bytes of stack a task gets. Only the pages it touches cost memory.
pub const STACK: usize = 64 * 1024;

/// Used stacks kept for the next tasks, so that spawning does not ask the kernel.
const POOL: usize = 1024;

/// Events taken from the kernel in one go.
const EVENTS: usize = 1024;

thread_local! {
    static SCHEDULER: Scheduler = Scheduler::new();
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

// ---------------------------------------------------------------------------------------------
// What a program calls
// ---------------------------------------------------------------------------------------------

/// Runs `main` with the thread's scheduler around it and returns what it returns. Whenever `main`
/// waits, its tasks run. A task that is still unfinished when `main` returns is closed.
///
/// # Panics
///
/// When called from inside of itself.
pub fn run<T>(main: impl FnOnce() -> T) -> T {
    /// On return as on panic: nothing that was spawned outlives `run`.
    struct Running<'a>(&'a Scheduler);
    impl Drop for Running<'_> {
        fn drop(&mut self) {
            while let Some(fiber) = self.0.any_task() {
                // One that panics now has said so on stderr; the others are closed all the same.
                let _ = catch_unwind(AssertUnwindSafe(|| self.0.close(&fiber)));
            }
            self.0.ready.take();
            self.0.before_poll.set(0);
            self.0.main.unparked.set(false);
            self.0.epoll.take();
            self.0.open.set(false);
        }
    }
    SCHEDULER.with(|scheduler| {
        assert!(!scheduler.open.replace(true), "scheduler::run inside of scheduler::run");
        let _running = Running(scheduler);
        main()
    })
}

/// Starts `body` as a task. It does not run before its spawner waits. (`gevent.spawn`)
///
/// # Panics
///
/// When the kernel has no stack left; [`try_spawn`] reports that as an error.
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> Task<T> {
    try_spawn(body).unwrap_or_else(|error| panic!("{error}"))
}

/// As [`spawn`]. The error says how many tasks there are and which limit of the kernel they met.
pub fn try_spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> io::Result<Task<T>> {
    let result = Rc::new(Cell::new(None));
    let kept = result.clone();
    let body = move |fiber: &Fiber| match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => kept.set(Some(Ok(value))),
        // `close` unwinds with a payload of corosensei's own, which must reach corosensei.
        Err(payload) if fiber.closing.get() => resume_unwind(payload),
        Err(payload) => kept.set(Some(Err(Failed::Panicked(payload)))),
    };
    let fiber = Scheduler::with(|scheduler| scheduler.start(body))?;
    Ok(Task { fiber, result })
}

/// Lets everybody else run first. (`gevent.sleep(0)`)
#[inline]
pub fn yield_now() {
    Scheduler::with(|scheduler| {
        // A stack that is being unwound takes no turns.
        if !thread::panicking() {
            scheduler.suspend(State::Next);
        }
    });
}

/// Waits for a length of time. (`gevent.sleep`)
///
/// Returns at once, too early, only in a task that is being unwound.
pub fn sleep(time: Duration) {
    // A sum that no clock reaches is no deadline.
    let _ = wait_any(&[], Instant::now().checked_add(time));
}

/// Waits until the source is ready or the deadline has passed. Without a deadline: `None`.
///
/// # Errors
///
/// `TimedOut` at the deadline, if the source was not ready by then; `Deadlock` when every task
/// waits for another one; an error of the kernel's for a descriptor that cannot be waited for.
pub fn wait(source: Source<'_>, deadline: impl Into<Option<Instant>>) -> io::Result<()> {
    wait_any(&[source], deadline).map(|_| ())
}

/// Waits until one of the sources is ready and says which one, as an index into `sources`.
///
/// # Errors
///
/// As [`wait`].
pub fn wait_any(sources: &[Source<'_>], deadline: impl Into<Option<Instant>>) -> io::Result<usize> {
    if let Some(index) = sources.iter().position(Source::is_set) {
        return Ok(index);
    }
    let deadline = deadline.into();
    Scheduler::with(|scheduler| {
        refuse_while_unwinding()?;
        loop {
            // However the wait ends, also when the task is closed meanwhile, it leaves no trace.
            let _registered = Registered::new(scheduler, sources, deadline)?;
            match scheduler.suspend(State::Waiting) {
                Wake::Ready(index) => return Ok(index),
                Wake::TimedOut => return Err(io::ErrorKind::TimedOut.into()),
                Wake::Deadlock => return Err(deadlock()),
                Wake::Again => {}
            }
        }
    })
}

/// Ready when a read would not block: data, the end of it, or an error. On a listener: `accept`.
pub fn readable(fd: &impl AsFd) -> Source<'_> {
    Source::Fd(fd.as_fd(), EpollFlags::EPOLLIN)
}

/// Ready when a write would not block.
pub fn writable(fd: &impl AsFd) -> Source<'_> {
    Source::Fd(fd.as_fd(), EpollFlags::EPOLLOUT)
}

/// Connects a nonblocking socket. (`gevent.socket.create_connection`)
///
/// # Errors
///
/// As `TcpStream::connect`; `TimedOut` at the deadline.
pub fn connect(address: SocketAddr, deadline: impl Into<Option<Instant>>) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket::socket(family, SockType::Stream, flags, None)?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        // EINTR does not stop the handshake either.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = TcpStream::from(fd);
    wait(writable(&socket), deadline)?;
    match socket.take_error()? {
        None => Ok(socket),
        Some(error) => Err(error),
    }
}

/// Waits for an [`unpark`](Handle::unpark), unless one came before. (`std::thread::park`)
///
/// # Errors
///
/// `Deadlock` when every task waits for another one.
#[inline]
pub fn park() -> io::Result<()> {
    Scheduler::with(|scheduler| {
        if scheduler.running.borrow().unparked.take() {
            return Ok(());
        }
        refuse_while_unwinding()?;
        match scheduler.suspend(State::Parked) {
            Wake::Deadlock => Err(deadlock()),
            _ => Ok(()),
        }
    })
}

/// The task that runs now; `main` counts as one. (`gevent.getcurrent`)
pub fn current() -> Handle {
    Handle(Scheduler::with(|scheduler| scheduler.running.borrow().clone()))
}

/// Something a task can wait for: [`readable`], [`writable`], [`Event::is_set`], the end of a task.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    Fd(BorrowedFd<'a>, EpollFlags),
    Event(&'a Event),
}

impl Source<'_> {
    fn is_set(&self) -> bool {
        matches!(self, Source::Event(event) if event.is_set())
    }

    /// While it is waited for, a source is borrowed: neither number nor address can be reused.
    fn key(&self) -> Key {
        match self {
            Source::Fd(fd, _) => Key::Fd(fd.as_raw_fd()),
            Source::Event(event) => Key::Event(std::ptr::from_ref(*event).addr()),
        }
    }
}

/// A spawned task. Dropping it lets the task go on; it is closed when [`run`] ends.
pub struct Task<T> {
    fiber: Rc<Fiber>,
    result: Rc<Cell<Option<Result<T, Failed>>>>,
}

impl<T> Task<T> {
    /// Waits for the task's end and returns its result. (`greenlet.get`)
    ///
    /// # Errors
    ///
    /// The task panicked, was closed, or can never end, because all wait for one another.
    pub fn join(self) -> Result<T, Failed> {
        wait(self.done(), None).map_err(Failed::Stuck)?;
        self.result.take().unwrap_or(Err(Failed::Closed))
    }

    /// The task's end, as a source for [`wait_any`].
    pub fn done(&self) -> Source<'_> {
        Source::Event(&self.fiber.done)
    }

    pub fn is_finished(&self) -> bool {
        self.fiber.done.is_set()
    }

    /// Ends the task where it waits: its stack is unwound and its destructors run, before `close`
    /// returns. A task that has not started never will. (`generator.close`, `greenlet.kill`)
    ///
    /// # Panics
    ///
    /// When a task closes itself.
    pub fn close(&self) {
        Scheduler::with(|scheduler| scheduler.close(&self.fiber));
    }

    /// What [`current`] returns inside the task.
    pub fn handle(&self) -> Handle {
        Handle(self.fiber.clone())
    }
}

/// Why a task has no result.
pub enum Failed {
    /// The task panicked, with this payload.
    Panicked(Box<dyn Any + Send>),
    /// [`Task::close`] ended it.
    Closed,
    /// Its end cannot be waited for.
    Stuck(io::Error),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Panicked(payload) => write!(f, "the task panicked: {}", said(&**payload)),
            Failed::Closed => f.write_str("the task was closed"),
            Failed::Stuck(error) => write!(f, "the task cannot be joined: {error}"),
        }
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failed {}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> io::Error {
        match failed {
            Failed::Stuck(error) => error,
            failed => io::Error::other(failed.to_string()),
        }
    }
}

/// The words of a panic.
pub fn said(payload: &(dyn Any + Send)) -> &str {
    if let Some(words) = payload.downcast_ref::<&str>() {
        words
    } else if let Some(words) = payload.downcast_ref::<String>() {
        words
    } else {
        "(no words)"
    }
}

/// Somebody to be woken from [`park`]. (`std::thread::Thread`)
#[derive(Clone)]
pub struct Handle(Rc<Fiber>);

impl Handle {
    /// Puts the task in line, or lets its next [`park`] return at once.
    pub fn unpark(&self) {
        if self.0.state.get() == State::Parked {
            Scheduler::with(|scheduler| scheduler.wake(&self.0, Wake::Again));
        } else {
            self.0.unparked.set(true);
        }
    }
}

/// Is not set, and then is: all who wait for it go on. (`gevent.event.Event`)
#[derive(Default)]
pub struct Event {
    set: Cell<bool>,
}

impl Event {
    pub fn new() -> Event {
        Event::default()
    }

    pub fn set(&self) {
        self.set.set(true);
        self.wake_all();
    }

    pub fn clear(&self) {
        self.set.set(false);
    }

    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// # Errors
    ///
    /// `Deadlock` when every task waits for another one.
    pub fn wait(&self) -> io::Result<()> {
        wait(Source::Event(self), None)
    }

    fn wake_all(&self) {
        let key = Source::Event(self).key();
        Scheduler::with(|scheduler| scheduler.wake_waiting(key, EpollFlags::all()));
    }
}

/// Held by one task at a time, also while that task waits. (`gevent.lock.Semaphore(1)`)
#[derive(Default)]
pub struct Lock {
    held: Cell<bool>,
    released: Event,
}

impl Lock {
    pub fn new() -> Lock {
        Lock::default()
    }

    /// Waits until nobody holds the lock and holds it until the guard is dropped.
    ///
    /// # Errors
    ///
    /// `Deadlock` when every task waits for another one.
    pub fn acquire(&self) -> io::Result<Held<'_>> {
        while self.held.get() {
            self.released.wait()?;
        }
        self.held.set(true);
        Ok(Held(self))
    }
}

/// Releases the lock when dropped.
#[must_use]
pub struct Held<'a>(&'a Lock);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        // All that wait look again, in line. Waking one would lose the lock if that one is closed.
        self.0.released.wake_all();
    }
}

// ---------------------------------------------------------------------------------------------
// What it is made of
// ---------------------------------------------------------------------------------------------

/// Why a task is resumed.
#[derive(Clone, Copy)]
enum Wake {
    /// It is its turn; or the descriptor it waits for has other news: look again.
    Again,
    /// The source with this index is ready.
    Ready(usize),
    TimedOut,
    /// Said to `main` only: nobody is left to wake anybody.
    Deadlock,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Running, or in line, or at its end.
    Active,
    /// In [`yield_now`], on its way to the end of the line.
    Next,
    /// In [`wait_any`]; only what it waits for wakes it.
    Waiting,
    /// In [`park`].
    Parked,
}

/// A stack of its own and what the scheduler knows of it. `main` is one too, without a coroutine.
struct Fiber {
    /// None in `main` and after the end. Borrowed while it runs.
    coroutine: RefCell<Option<Coroutine<(), (), (), PooledStack>>>,
    /// How to leave the coroutine; on the coroutine's own stack, so valid while it runs.
    yielder: Cell<Option<NonNull<Yielder<(), ()>>>>,
    state: Cell<State>,
    why: Cell<Wake>,
    unparked: Cell<bool>,
    closing: Cell<bool>,
    done: Event,
    id: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Fd(RawFd),
    Event(usize),
}

struct Waiting {
    fiber: Rc<Fiber>,
    flags: EpollFlags,
}

struct Scheduler {
    main: Rc<Fiber>,
    running: RefCell<Rc<Fiber>>,
    /// Inside of [`run`].
    open: Cell<bool>,
    /// The line.
    ready: RefCell<VecDeque<Rc<Fiber>>>,
    /// How many of them still run before the kernel is asked again.
    before_poll: Cell<usize>,
    /// By source, then by who came first.
    waiting: RefCell<BTreeMap<(Key, u64, usize), Waiting>>,
    timers: RefCell<BTreeMap<(Instant, u64), Rc<Fiber>>>,
    /// Every task that has not ended, by number.
    tasks: RefCell<BTreeMap<u64, Rc<Fiber>>>,
    /// Tasks and waits are numbered through.
    next: Cell<u64>,
    /// Descriptors being waited for; without any, the kernel need not be asked.
    descriptors: Cell<usize>,
    epoll: RefCell<Option<Epoll>>,
    events: RefCell<Vec<EpollEvent>>,
}

impl Scheduler {
    fn new() -> Scheduler {
        let main = Rc::new(Fiber::new(0));
        Scheduler {
            running: RefCell::new(main.clone()),
            main,
            open: Cell::new(false),
            ready: RefCell::default(),
            before_poll: Cell::new(0),
            waiting: RefCell::default(),
            timers: RefCell::default(),
            tasks: RefCell::default(),
            next: Cell::new(1),
            descriptors: Cell::new(0),
            epoll: RefCell::default(),
            events: RefCell::new(Vec::new()),
        }
    }

    #[inline]
    fn with<T>(f: impl FnOnce(&Scheduler) -> T) -> T {
        SCHEDULER.with(f)
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    fn any_task(&self) -> Option<Rc<Fiber>> {
        Some(self.tasks.borrow().first_key_value()?.1.clone())
    }

    fn start(&self, body: impl FnOnce(&Fiber) + 'static) -> io::Result<Rc<Fiber>> {
        assert!(self.open.get(), "tasks are spawned inside of scheduler::run");
        let stack = PooledStack::new().map_err(|error| self.no_stack(&error))?;
        let fiber = Rc::new(Fiber::new(self.number()));
        let own = Rc::downgrade(&fiber);
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            let fiber = own.upgrade().expect("the scheduler holds a task until it ends");
            fiber.yielder.set(Some(NonNull::from_ref(yielder)));
            body(&fiber);
        });
        fiber.coroutine.replace(Some(coroutine));
        self.tasks.borrow_mut().insert(fiber.id, fiber.clone());
        fiber.state.set(State::Waiting);
        self.wake(&fiber, Wake::Again);
        Ok(fiber)
    }

    fn no_stack(&self, error: &io::Error) -> io::Error {
        io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "no stack for another task beside {} of them: {error}. Each takes two memory \
                 mappings; the kernel's limit is vm.max_map_count",
                self.tasks.borrow().len()
            ),
        )
    }

    /// Puts a waiting task in line. The first reason wins.
    fn wake(&self, fiber: &Rc<Fiber>, why: Wake) {
        if fiber.state.replace(State::Active) != State::Active {
            fiber.why.set(why);
            self.ready.borrow_mut().push_back(fiber.clone());
        }
    }

    /// Leaves the running task until somebody wakes it. `main` has nowhere to leave to: it runs
    /// the trampoline meanwhile.
    ///
    /// Inlined, with all that lies between it and the task's own code: a processor foresees where
    /// a function returns to by the calls it has seen, and on another stack it foresees wrongly.
    #[inline]
    fn suspend(&self, state: State) -> Wake {
        let yielder = {
            let running = self.running.borrow();
            running.state.set(state);
            running.yielder.get()
        };
        match yielder {
            Some(yielder) => leave(yielder),
            None => self.trampoline(),
        }
        self.running.borrow().why.get()
    }

    /// Resumes who is next in line, again and again, until it is `main`'s turn.
    #[inline(never)]
    fn trampoline(&self) {
        assert!(self.open.get(), "tasks wait inside of scheduler::run");
        if self.main.state.get() == State::Next {
            self.wake(&self.main, Wake::Again);
        }
        loop {
            if self.before_poll.get() == 0 {
                self.poll();
                self.before_poll.set(self.ready.borrow().len());
            }
            self.before_poll.set(self.before_poll.get() - 1);
            let next = self.ready.borrow_mut().pop_front();
            let fiber = next.expect("poll returns when somebody is in line");
            if Rc::ptr_eq(&fiber, &self.main) {
                self.running.replace(fiber);
                return;
            }
            self.resume(fiber);
        }
    }

    #[inline]
    fn resume(&self, fiber: Rc<Fiber>) {
        let mut slot = fiber.coroutine.borrow_mut();
        let Some(coroutine) = slot.as_mut() else {
            return; // closed while in line
        };
        self.running.replace(fiber.clone());
        let result = coroutine.resume(());
        if let CoroutineResult::Return(()) = result {
            *slot = None;
            drop(slot);
            self.end(&fiber);
        } else if fiber.state.get() == State::Next {
            drop(slot);
            fiber.state.set(State::Active);
            fiber.why.set(Wake::Again);
            self.ready.borrow_mut().push_back(fiber);
        }
    }

    fn close(&self, fiber: &Rc<Fiber>) {
        let slot = fiber.coroutine.try_borrow_mut();
        let coroutine = slot.expect("a task cannot close itself").take();
        let Some(mut coroutine) = coroutine else {
            return; // it has ended, or is being closed already
        };
        fiber.closing.set(true);
        let before = self.running.replace(fiber.clone());
        let unwound = catch_unwind(AssertUnwindSafe(|| coroutine.force_unwind()));
        self.running.replace(before);
        drop(coroutine);
        self.end(fiber);
        // The task's body answered the unwinding with a panic of its own.
        if let Err(payload) = unwound {
            resume_unwind(payload);
        }
    }

    fn end(&self, fiber: &Rc<Fiber>) {
        fiber.state.set(State::Active); // nobody wakes it any more
        fiber.yielder.set(None);
        self.tasks.borrow_mut().remove(&fiber.id);
        fiber.done.set();
    }

    /// Wakes who waits for this source, in the order they came.
    fn wake_waiting(&self, key: Key, got: EpollFlags) {
        let mut waiting = self.waiting.borrow_mut();
        for ((.., index), one) in waiting.extract_if(all_of(key), |_, _| true) {
            if let Key::Fd(_) = key {
                self.descriptors.set(self.descriptors.get() - 1);
            }
            let news = got.intersects(one.flags);
            self.wake(&one.fiber, if news { Wake::Ready(index) } else { Wake::Again });
        }
    }

    /// Looks for events and for deadlines that have passed; if nobody is in line, waits for them.
    fn poll(&self) {
        loop {
            let idle = self.ready.borrow().is_empty();
            let first = self.timers.borrow().first_key_value().map(|(key, _)| key.0);
            let left = if idle { first.map(until) } else { Some(Duration::ZERO) };
            if self.descriptors.get() > 0 {
                self.poll_kernel(left);
            } else if idle {
                match left {
                    Some(left) => thread::sleep(left),
                    None => self.wake(&self.main, Wake::Deadlock),
                }
            }
            if first.is_some() {
                self.fire_timers(Instant::now());
            }
            if !self.ready.borrow().is_empty() {
                return;
            }
        }
    }

    fn poll_kernel(&self, left: Option<Duration>) {
        let timeout = left.map_or(EpollTimeout::NONE, milliseconds);
        let epoll = self.epoll.borrow();
        let epoll = epoll.as_ref().expect("made for the first descriptor");
        let mut events = self.events.borrow_mut();
        events.resize(EVENTS, EpollEvent::empty());
        let n = match epoll.wait(&mut events, timeout) {
            Ok(n) => n,
            Err(Errno::EINTR) => 0,
            Err(error) => unreachable!("epoll_wait on a descriptor of our own: {error}"),
        };
        for event in &events[..n] {
            // A connection that broke is reported to whoever waits: their next call says how.
            let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
            let got = match event.events() {
                got if got.intersects(broken) => EpollFlags::all(),
                got => got,
            };
            self.wake_waiting(Key::Fd(event.data() as RawFd), got);
        }
    }

    fn fire_timers(&self, now: Instant) {
        let mut timers = self.timers.borrow_mut();
        while let Some(first) = timers.first_entry()
            && first.key().0 <= now
        {
            self.wake(&first.remove(), Wake::TimedOut);
        }
    }

    /// Asks the kernel for one event of this descriptor. It forgets closed descriptors by itself.
    fn arm(&self, fd: BorrowedFd<'_>, flags: EpollFlags) -> io::Result<()> {
        let mut epoll = self.epoll.borrow_mut();
        let epoll = match &mut *epoll {
            Some(epoll) => epoll,
            none => none.insert(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?),
        };
        let data = fd.as_raw_fd() as u64;
        let mut event = EpollEvent::new(flags | EpollFlags::EPOLLONESHOT, data);
        match epoll.modify(fd, &mut event) {
            Err(Errno::ENOENT) => Ok(epoll.add(fd, event)?),
            result => Ok(result?),
        }
    }
}

impl Fiber {
    fn new(id: u64) -> Fiber {
        Fiber {
            coroutine: RefCell::new(None),
            yielder: Cell::new(None),
            state: Cell::new(State::Active),
            why: Cell::new(Wake::Again),
            unparked: Cell::new(false),
            closing: Cell::new(false),
            done: Event::new(),
            id,
        }
    }
}

/// One wait, in the scheduler's books from `new` to `drop`.
struct Registered<'a> {
    scheduler: &'a Scheduler,
    sources: &'a [Source<'a>],
    deadline: Option<Instant>,
    number: u64,
}

impl<'a> Registered<'a> {
    fn new(
        scheduler: &'a Scheduler,
        sources: &'a [Source<'a>],
        deadline: Option<Instant>,
    ) -> io::Result<Registered<'a>> {
        let fiber = &*scheduler.running.borrow();
        let number = scheduler.number();
        let registered = Registered { scheduler, sources, deadline, number };
        if let Some(deadline) = deadline {
            scheduler.timers.borrow_mut().insert((deadline, number), fiber.clone());
        }
        for (index, source) in sources.iter().enumerate() {
            let key = source.key();
            let mut flags = EpollFlags::all();
            let mut waiting = scheduler.waiting.borrow_mut();
            if let Source::Fd(fd, wanted) = *source {
                flags = wanted;
                // Ten thousand tasks may wait for one descriptor: if the first of them has asked
                // the kernel for the same, that is enough.
                let mut others = waiting.range(all_of(key)).map(|(_, other)| other.flags);
                if !others.next().is_some_and(|first| first.contains(wanted)) {
                    let others = waiting.range(all_of(key)).map(|(_, other)| other.flags);
                    scheduler.arm(fd, others.fold(wanted, EpollFlags::union))?;
                }
                scheduler.descriptors.set(scheduler.descriptors.get() + 1);
            }
            let fiber = fiber.clone();
            waiting.insert((key, number, index), Waiting { fiber, flags });
        }
        Ok(registered)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let scheduler = self.scheduler;
        if let Some(deadline) = self.deadline {
            scheduler.timers.borrow_mut().remove(&(deadline, self.number));
        }
        for (index, source) in self.sources.iter().enumerate() {
            let key = source.key();
            let mut waiting = scheduler.waiting.borrow_mut();
            if waiting.remove(&(key, self.number, index)).is_none() {
                continue; // its event has come
            }
            if let Source::Fd(fd, _) = *source {
                scheduler.descriptors.set(scheduler.descriptors.get() - 1);
                // An event that nobody waits for must not be taken for that of a later socket.
                if waiting.range(all_of(key)).next().is_none()
                    && let Some(epoll) = &*scheduler.epoll.borrow()
                {
                    let _ = epoll.delete(fd);
                }
            }
        }
    }
}

fn all_of(key: Key) -> RangeInclusive<(Key, u64, usize)> {
    (key, 0, 0)..=(key, u64::MAX, usize::MAX)
}

/// Rounded up, so that the deadline has passed when the kernel returns.
fn milliseconds(time: Duration) -> EpollTimeout {
    let rounded = time.as_nanos().div_ceil(1_000_000);
    i32::try_from(rounded)
        .map_or(EpollTimeout::MAX, |ms| EpollTimeout::try_from(ms).expect("not negative"))
}

/// The panic count of the standard library is the thread's, not the task's: whoever switched away
/// in the middle of unwinding would make the others look as if they panicked.
fn refuse_while_unwinding() -> io::Result<()> {
    if thread::panicking() {
        return Err(io::Error::other("a task that unwinds cannot wait"));
    }
    Ok(())
}

fn deadlock() -> io::Error {
    io::Error::new(io::ErrorKind::Deadlock, "deadlock: every task waits for another one")
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Switches from the running task's stack back to the trampoline.
#[inline]
#[expect(unsafe_code, reason = "the yielder is known by its address")]
fn leave(yielder: NonNull<Yielder<(), ()>>) {
    // SAFETY: the yielder lies at the bottom of the running task's stack, which this function
    // runs on, or on top of: `resume` and `close` name the running task just before they switch to
    // it, and `end` takes the address away before the stack goes.
    unsafe { yielder.as_ref() }.suspend(());
}

/// A stack of [`STACK`] bytes that goes back to a pool of its thread.
pub struct PooledStack(Option<DefaultStack>);

impl PooledStack {
    pub fn new() -> io::Result<PooledStack> {
        match STACKS.with_borrow_mut(Vec::pop) {
            Some(stack) => Ok(PooledStack(Some(stack))),
            None => Ok(PooledStack(Some(DefaultStack::new(STACK)?))),
        }
    }

    fn stack(&self) -> &DefaultStack {
        self.0.as_ref().expect("taken in drop only")
    }
}

impl Drop for PooledStack {
    fn drop(&mut self) {
        // At the end of the thread the pool is gone before the last stack is.
        let _ = STACKS.try_with(|stacks| {
            let mut stacks = stacks.borrow_mut();
            if stacks.len() < POOL {
                stacks.extend(self.0.take());
            }
        });
    }
}

#[expect(unsafe_code, reason = "corosensei's trait is unsafe to implement")]
// SAFETY: it is a `DefaultStack`, guard page and all; this one's memory is given back, to the pool
// or to the kernel, only when the coroutine that owns it is gone.
unsafe impl Stack for PooledStack {
    fn base(&self) -> StackPointer {
        self.stack().base()
    }

    fn limit(&self) -> StackPointer {
        self.stack().limit()
    }
}

#[cfg(test)]
mod tests;
