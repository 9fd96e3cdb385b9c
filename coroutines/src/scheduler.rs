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
                self.0.close(&fiber);
            }
            self.0.ready.take();
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
    let _ = wait_any(&[], Instant::now() + time);
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

/// Why a task is resumed: the value that `resume` sends in.
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
    coroutine: RefCell<Option<Coroutine<Wake, (), (), PooledStack>>>,
    /// How to leave the coroutine; on the coroutine's own stack, so valid while it runs.
    yielder: Cell<Option<NonNull<Yielder<Wake, ()>>>>,
    state: Cell<State>,
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
    ready: RefCell<VecDeque<(Rc<Fiber>, Wake)>>,
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
        let coroutine = Coroutine::with_stack(stack, move |yielder, _: Wake| {
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
            self.ready.borrow_mut().push_back((fiber.clone(), why));
        }
    }

    /// Leaves the running task until somebody wakes it. `main` has nowhere to leave to: it runs
    /// the trampoline meanwhile.
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
    }

    /// Resumes who is next in line, again and again, until it is `main`'s turn.
    fn trampoline(&self) -> Wake {
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
            let (fiber, why) = next.expect("poll returns when somebody is in line");
            if Rc::ptr_eq(&fiber, &self.main) {
                return why;
            }
            self.resume(fiber, why);
        }
    }

    fn resume(&self, fiber: Rc<Fiber>, why: Wake) {
        let mut slot = fiber.coroutine.borrow_mut();
        let Some(coroutine) = slot.as_mut() else {
            return; // closed while in line
        };
        let before = self.running.replace(fiber.clone());
        let result = coroutine.resume(why);
        self.running.replace(before);
        if let CoroutineResult::Return(()) = result {
            *slot = None;
            drop(slot);
            return self.end(&fiber);
        }
        drop(slot);
        if fiber.state.get() == State::Next {
            self.wake(&fiber, Wake::Again);
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
            if self.descriptors.get() > 0 {
                self.poll_kernel(if idle { first } else { Some(Instant::now()) });
            } else if idle {
                match first {
                    Some(first) => thread::sleep(until(first)),
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

    fn poll_kernel(&self, deadline: Option<Instant>) {
        let timeout = deadline.map_or(EpollTimeout::NONE, |deadline| milliseconds(until(deadline)));
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
#[expect(unsafe_code, reason = "the yielder is known by its address")]
fn leave(yielder: NonNull<Yielder<Wake, ()>>) -> Wake {
    // SAFETY: the yielder lies at the bottom of the running task's stack, which this function
    // runs on, or on top of: `resume` and `close` name the running task just before they switch to
    // it, and `end` takes the address away before the stack goes.
    unsafe { yielder.as_ref() }.suspend(())
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
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::generators::Generator;

    /// What the tasks of a test did, in order.
    type Log = Rc<RefCell<Vec<String>>>;

    /// Writes when it is dropped.
    struct Finally(Log, &'static str);

    impl Drop for Finally {
        fn drop(&mut self) {
            note(&self.0, self.1);
        }
    }

    fn note(log: &Log, what: impl Into<String>) {
        log.borrow_mut().push(what.into());
    }

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().expect("a socket pair");
        a.set_nonblocking(true).expect("nonblocking");
        b.set_nonblocking(true).expect("nonblocking");
        (a, b)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(2)
    }

    fn net() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn run_returns_what_main_returns_and_main_may_borrow() {
        let mut seen = 0;
        let answer = run(|| {
            seen = spawn(|| 6 * 7).join().expect("no panic");
            "done"
        });
        assert_eq!((seen, answer), (42, "done"));
    }

    #[test]
    fn a_task_does_not_run_before_its_spawner_waits_and_then_turns_are_first_in_first_out() {
        let log = Log::default();
        run(|| {
            let mut tasks = Vec::new();
            for name in ["a", "b", "c"] {
                let log = log.clone();
                tasks.push(spawn(move || {
                    for step in 1..=2 {
                        note(&log, format!("{name}{step}"));
                        yield_now();
                    }
                }));
            }
            note(&log, "spawned");
            for task in tasks {
                task.join().expect("no panic");
            }
        });
        assert_eq!(log.borrow().join(" "), "spawned a1 b1 c1 a2 b2 c2");
    }

    #[test]
    fn tasks_spawn_and_join_tasks() {
        fn sum(from: u64, to: u64) -> u64 {
            if to - from == 1 {
                return from;
            }
            let middle = from.midpoint(to);
            let left = spawn(move || sum(from, middle));
            let right = spawn(move || sum(middle, to));
            left.join().expect("no panic") + right.join().expect("no panic")
        }
        assert_eq!(run(|| sum(0, 100)), 4950);
    }

    #[test]
    fn a_panic_is_that_tasks_error() {
        run(|| {
            let bad = spawn(|| -> u8 { panic!("no luck") });
            let good = spawn(|| 1);
            let error = bad.join().expect_err("it panicked");
            assert_eq!(error.to_string(), "the task panicked: no luck");
            assert_eq!(good.join().expect("no panic"), 1);
        });
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_deadlines() {
        let log = Log::default();
        run(|| {
            let mut tasks = Vec::new();
            for ms in [30, 10, 20] {
                let log = log.clone();
                tasks.push(spawn(move || {
                    let before = Instant::now();
                    sleep(Duration::from_millis(ms));
                    assert!(before.elapsed() >= Duration::from_millis(ms));
                    note(&log, ms.to_string());
                }));
            }
            for task in tasks {
                task.join().expect("no panic");
            }
        });
        assert_eq!(log.borrow().join(" "), "10 20 30");
    }

    #[test]
    fn a_wait_ends_when_the_source_is_ready() {
        run(|| {
            let (mut here, mut there) = pair();
            let reader = spawn(move || {
                wait(readable(&here), net())?;
                let mut buf = [0; 8];
                let n = here.read(&mut buf)?;
                io::Result::Ok(buf[..n].to_vec())
            });
            yield_now();
            assert!(!reader.is_finished());
            there.write_all(b"hello").expect("room in the buffer");
            let read = reader.join().expect("no panic").expect("no error");
            assert_eq!(read, b"hello");
        });
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_the_descriptor_can_be_waited_for_again() {
        run(|| {
            let (here, mut there) = pair();
            for _ in 0..3 {
                let error = wait(readable(&here), soon()).expect_err("nothing was sent");
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            }
            there.write_all(b"x").expect("room in the buffer");
            wait(readable(&here), net()).expect("something was sent");
        });
    }

    #[test]
    fn what_is_ready_at_a_deadline_that_has_passed_counts_as_ready() {
        run(|| {
            let (here, _there) = pair();
            wait(writable(&here), Instant::now()).expect("there is room");
        });
    }

    #[test]
    fn waiting_for_several_sources_says_which() {
        run(|| {
            let (a, mut to_a) = pair();
            let (b, mut to_b) = pair();
            let event = Rc::new(Event::new());
            let either =
                |deadline| wait_any(&[readable(&a), readable(&b), Source::Event(&event)], deadline);
            to_b.write_all(b"x").expect("room in the buffer");
            assert_eq!(either(net()).expect("b"), 1);
            to_a.write_all(b"x").expect("room in the buffer");
            (&b).read_exact(&mut [0]).expect("it was sent");
            assert_eq!(either(net()).expect("a"), 0);
            (&a).read_exact(&mut [0]).expect("it was sent");
            assert_eq!(either(soon()).expect_err("none").kind(), io::ErrorKind::TimedOut);
            let setter = event.clone();
            spawn(move || setter.set());
            assert_eq!(either(net()).expect("the event"), 2);
        });
    }

    #[test]
    fn a_reader_and_a_writer_wait_for_one_socket() {
        run(|| {
            let (here, there) = pair();
            while (&here).write(&[0; 4096]).is_ok() {}
            let here = Rc::new(here);
            let (for_reader, for_writer) = (here.clone(), here);
            let reader = spawn(move || wait(readable(&*for_reader), net()).is_ok());
            let writer = spawn(move || wait(writable(&*for_writer), net()).is_ok());
            yield_now();
            while (&there).read(&mut [0; 4096]).is_ok() {}
            assert!(writer.join().expect("no panic"));
            assert!(!reader.is_finished());
            (&there).write_all(b"x").expect("room in the buffer");
            assert!(reader.join().expect("no panic"));
        });
    }

    #[test]
    fn many_wait_for_one_descriptor_and_all_wake_at_its_end() {
        run(|| {
            let (stop, stopper) = pair();
            let stop = Rc::new(stop);
            let mut tasks = Vec::new();
            for _ in 0..1000 {
                let stop = stop.clone();
                tasks.push(spawn(move || wait(readable(&*stop), net())));
            }
            yield_now();
            drop(stopper);
            for task in tasks {
                task.join().expect("no panic").expect("woken");
            }
        });
    }

    #[test]
    fn a_descriptor_that_is_closed_and_reused_is_another_descriptor() {
        run(|| {
            for _ in 0..50 {
                let (here, mut there) = pair();
                let copy = here.try_clone().expect("a descriptor");
                wait(readable(&here), Instant::now()).expect_err("nothing was sent");
                drop(here);
                let (new, _other) = pair();
                there.write_all(b"x").expect("room in the buffer");
                wait(readable(&new), Instant::now()).expect_err("sent to the old one");
                wait(readable(&copy), net()).expect("sent to this one");
            }
        });
    }

    #[test]
    fn a_file_cannot_be_waited_for() {
        run(|| {
            let file = std::fs::File::open("/proc/self/exe").expect("we run");
            let error = wait(readable(&file), net()).expect_err("epoll takes no files");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn connect_reaches_a_listener() {
        run(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            listener.set_nonblocking(true).expect("nonblocking");
            let address = listener.local_addr().expect("bound");
            let server = spawn(move || {
                wait(readable(&listener), net())?;
                listener.accept()?.0.write_all(b"hi")
            });
            let mut socket = connect(address, net()).expect("it listens");
            wait(readable(&socket), net()).expect("an answer");
            let mut buf = [0; 2];
            socket.read_exact(&mut buf).expect("an answer");
            assert_eq!(&buf, b"hi");
            server.join().expect("no panic").expect("no error");
        });
    }

    #[test]
    fn connect_to_a_port_that_nobody_listens_on_is_refused() {
        let address = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            listener.local_addr().expect("bound")
        };
        let error = run(|| connect(address, net())).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn close_unwinds_the_stack_where_it_waits() {
        let log = Log::default();
        run(|| {
            let inner = log.clone();
            let task = spawn(move || {
                let _finally = Finally(inner.clone(), "finally");
                note(&inner, "started");
                sleep(Duration::from_hours(1));
                note(&inner, "never");
            });
            yield_now();
            task.close();
            note(&log, "closed");
            assert!(matches!(task.join(), Err(Failed::Closed)));
        });
        assert_eq!(log.borrow().join(" "), "started finally closed");
    }

    #[test]
    fn a_task_closed_before_it_started_never_runs_and_drops_what_it_owns() {
        let log = Log::default();
        run(|| {
            let (owned, inner) = (Finally(log.clone(), "dropped"), log.clone());
            let task = spawn(move || {
                let _owned = owned;
                note(&inner, "never");
            });
            task.close();
            assert!(matches!(task.join(), Err(Failed::Closed)));
        });
        assert_eq!(log.borrow().join(" "), "dropped");
    }

    #[test]
    fn a_closed_task_cannot_wait_while_it_unwinds() {
        struct Waits(Log);
        impl Drop for Waits {
            fn drop(&mut self) {
                yield_now();
                let error = wait_any(&[], soon()).expect_err("unwinding");
                note(&self.0, error.to_string());
            }
        }
        let log = Log::default();
        run(|| {
            let inner = log.clone();
            let task = spawn(move || {
                let _waits = Waits(inner);
                park()
            });
            yield_now();
            task.close();
        });
        assert_eq!(log.borrow().join(" "), "a task that unwinds cannot wait");
    }

    #[test]
    fn a_closed_task_wakes_whoever_waits_for_its_end() {
        run(|| {
            let victim = Rc::new(spawn(|| sleep(Duration::from_hours(1))));
            let watched = victim.clone();
            let watcher = spawn(move || wait(watched.done(), net()).is_ok());
            yield_now();
            victim.close();
            assert!(watcher.join().expect("no panic"));
        });
    }

    #[test]
    fn what_is_unfinished_is_closed_when_main_returns_or_panics() {
        for panics in [false, true] {
            let log = Log::default();
            let inner = log.clone();
            let result = catch_unwind(AssertUnwindSafe(|| {
                run(|| {
                    spawn(move || {
                        let _finally = Finally(inner, "finally");
                        park()
                    });
                    yield_now();
                    assert!(!panics, "as the test wants");
                });
            }));
            assert_eq!(result.is_err(), panics);
            assert_eq!(log.borrow().join(" "), "finally");
        }
    }

    #[test]
    fn a_task_that_panics_while_it_unwinds_hands_that_to_who_closes_it() {
        run(|| {
            let task = spawn(|| {
                let unwound = catch_unwind(|| park().is_ok());
                assert!(unwound.is_ok(), "disturbed");
            });
            yield_now();
            let result = catch_unwind(AssertUnwindSafe(|| task.close()));
            assert_eq!(said(&*result.expect_err("it panicked")), "disturbed");
            assert!(task.is_finished());
        });
    }

    #[test]
    #[should_panic(expected = "a task cannot close itself")]
    fn a_task_cannot_close_itself() {
        run(|| {
            let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
            let inner = slot.clone();
            let task = spawn(move || inner.borrow().as_ref().expect("set by main").close());
            slot.replace(Some(task));
            yield_now();
            let task = slot.take().expect("set above");
            if let Err(Failed::Panicked(payload)) = task.join() {
                resume_unwind(payload);
            }
        });
    }

    #[test]
    fn a_deadlock_is_reported_to_main() {
        run(|| {
            let (a, b) = (Rc::new(Event::new()), Rc::new(Event::new()));
            let (a_too, b_too) = (a.clone(), b.clone());
            let first = spawn(move || {
                a.wait()?;
                b.set();
                io::Result::Ok(())
            });
            let _second = spawn(move || {
                b_too.wait()?;
                a_too.set();
                io::Result::Ok(())
            });
            let error = first.join().expect_err("they wait for each other");
            assert_eq!(
                error.to_string(),
                "the task cannot be joined: deadlock: every task waits for another one"
            );
            let error = park().expect_err("nobody is left to wake main");
            assert_eq!(error.kind(), io::ErrorKind::Deadlock);
        });
    }

    #[test]
    fn unpark_before_park_is_not_lost_and_wakes_no_other_wait() {
        run(|| {
            current().unpark();
            park().expect("unparked before");
            let task = spawn(|| {
                let error = wait_any(&[], soon()).expect_err("a deadline only");
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                park()
            });
            yield_now();
            task.handle().unpark();
            task.join().expect("no panic").expect("unparked before");
        });
    }

    #[test]
    fn a_lock_is_held_across_a_wait_and_survives_a_closed_holder() {
        run(|| {
            let lock = Rc::new(Lock::new());
            let value = Rc::new(Cell::new(0));
            let holder = lock.clone();
            let stuck = spawn(move || {
                let _held = holder.acquire()?;
                park()
            });
            let mut tasks = Vec::new();
            for _ in 0..4 {
                let (lock, value) = (lock.clone(), value.clone());
                tasks.push(spawn(move || {
                    for _ in 0..100 {
                        let _held = lock.acquire().expect("no deadlock");
                        let read = value.get();
                        yield_now();
                        value.set(read + 1);
                    }
                }));
            }
            yield_now();
            assert_eq!(value.get(), 0);
            stuck.close();
            for task in tasks {
                task.join().expect("no panic");
            }
            assert_eq!(value.get(), 400);
        });
    }

    #[test]
    fn sockets_are_served_while_others_only_take_turns() {
        run(|| {
            let (here, mut there) = pair();
            let stop = Rc::new(Event::new());
            let seen = stop.clone();
            let spinner = spawn(move || {
                while !seen.is_set() {
                    yield_now();
                }
            });
            let reader = spawn(move || wait(readable(&here), net()));
            yield_now();
            there.write_all(b"x").expect("room in the buffer");
            reader.join().expect("no panic").expect("served");
            stop.set();
            spinner.join().expect("no panic");
        });
    }

    #[test]
    #[should_panic(expected = "scheduler::run inside of scheduler::run")]
    fn schedulers_do_not_nest() {
        run(|| {
            if let Err(Failed::Panicked(payload)) = spawn(|| run(|| ())).join() {
                resume_unwind(payload);
            }
        });
    }

    #[test]
    fn a_thread_can_run_again_after_a_run_that_panicked() {
        catch_unwind(|| run(|| -> () { panic!("on purpose") })).expect_err("it panicked");
        assert_eq!(run(|| spawn(|| 1).join().expect("no panic")), 1);
    }

    #[test]
    fn a_generator_may_wait_and_only_its_task_waits_with_it() {
        fn slowly(n: u32) -> Generator<(), u32, ()> {
            Generator::new(move |yielder| {
                for i in 0..n {
                    sleep(Duration::from_millis(1));
                    yield_now();
                    yielder.suspend(i)?;
                }
                Ok(())
            })
        }
        run(|| {
            let mut tasks = Vec::new();
            for _ in 0..10 {
                tasks.push(spawn(|| slowly(5).sum::<u32>()));
            }
            assert_eq!(slowly(4).sum::<u32>(), 6); // main waits in one too
            for task in tasks {
                assert_eq!(task.join().expect("no panic"), 10);
            }
        });
    }

    #[test]
    fn closing_a_task_that_waits_in_a_generator_unwinds_both_stacks() {
        let log = Log::default();
        run(|| {
            let (outer, inner) = (log.clone(), log.clone());
            let task = spawn(move || {
                let _finally = Finally(outer, "task");
                let mut generator: Generator<(), u32, ()> = Generator::new(move |yielder| {
                    let _finally = Finally(inner, "generator");
                    yielder.suspend(1)?;
                    park()?;
                    Ok(())
                });
                generator.by_ref().count()
            });
            yield_now();
            task.close();
        });
        assert_eq!(log.borrow().join(" "), "generator task");
    }

    #[test]
    fn stacks_are_used_again() {
        run(|| {
            spawn(|| ()).join().expect("no panic");
            let before = STACKS.with_borrow(Vec::len);
            spawn(|| ()).join().expect("no panic");
            assert_eq!(STACKS.with_borrow(Vec::len), before);
            assert!(before >= 1);
        });
    }

    #[test]
    fn thirty_thousand_wait_and_beyond_the_kernels_limit_is_an_error() {
        // In a process of its own: the limit is on a whole process.
        let child = std::process::Command::new("/proc/self/exe")
            .args(["--exact", "scheduler::tests::as_many_as_the_kernel_allows"])
            .args(["--ignored", "--nocapture"])
            .output()
            .expect("we run");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{said}");
        assert!(said.contains("vm.max_map_count"), "{said}");
        assert!(said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn as_many_as_the_kernel_allows() {
        run(|| {
            let gate = Rc::new(Event::new());
            let mut tasks = Vec::new();
            let error = loop {
                let gate = gate.clone();
                match try_spawn(move || gate.wait()) {
                    Ok(task) => tasks.push(task),
                    Err(error) => break error,
                }
                // A machine with a higher limit, or none.
                if tasks.len() == 200_000 {
                    break io::Error::other("vm.max_map_count is out of reach");
                }
            };
            yield_now();
            assert!(tasks.len() >= 30_000, "{error}");
            println!("{error}");
            gate.set();
            for task in tasks {
                task.join().expect("no panic").expect("released");
            }
        });
    }
}
