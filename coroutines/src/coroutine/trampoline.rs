//! The trampoline: it resumes the tasks that can run, one by one, and asks the kernel which can.
//!
//! A task runs until it waits; then it switches back to the trampoline. First in, first out: the
//! same program takes the same turns on every run. `scheduler.rs`, `wait.rs` and `sync.rs` are
//! built on this.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult, Yielder};
use nix::sys::epoll::EpollFlags;

use super::poller::Poller;
use super::source::{Event, Key, Source};
use super::stack::PooledStack;
use super::unwind::{finish, unwind};

thread_local! {
    static TRAMPOLINE: Trampoline = Trampoline::new();
}

/// Why a task is resumed.
#[derive(Clone, Copy)]
pub enum Wake {
    /// It is its turn, or its descriptor has another event: check again.
    Again,
    /// The source with this index is ready.
    Ready(usize),
    TimedOut,
    /// Only for `main`: no task is left that could wake another.
    Deadlock,
    /// It has to unwind.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Running, or in the queue, or at its end.
    Active,
    /// About to go to the end of the queue.
    Next,
    /// Until it is woken.
    Waiting,
}

/// A stack of its own and its state. `main` is one too, without a coroutine.
pub struct Fiber {
    /// `None` in `main` and after the end. Borrowed while it runs.
    coroutine: RefCell<Option<Coroutine<(), (), (), PooledStack>>>,
    /// How to leave the coroutine. It is on the coroutine's own stack, so it is valid while that
    /// runs.
    yielder: Cell<Option<NonNull<Yielder<(), ()>>>>,
    state: Cell<State>,
    why: Cell<Wake>,
    closing: Cell<bool>,
    pub done: Event,
    id: u64,
}

struct Waiting {
    fiber: Rc<Fiber>,
    flags: EpollFlags,
}

pub struct Trampoline {
    main: Rc<Fiber>,
    running: RefCell<Rc<Fiber>>,
    /// Whether `scheduler::run` is running.
    open: Cell<bool>,
    /// The queue of tasks that can run.
    ready: RefCell<VecDeque<Rc<Fiber>>>,
    /// How many of them still run before the kernel is polled again.
    before_poll: Cell<usize>,
    /// By source, then by order of arrival.
    waiting: RefCell<BTreeMap<(Key, u64, usize), Waiting>>,
    timers: RefCell<BTreeMap<(Instant, u64), Rc<Fiber>>>,
    /// Every task that has not ended, by number.
    tasks: RefCell<BTreeMap<u64, Rc<Fiber>>>,
    /// The next number of a task or a wait.
    next: Cell<u64>,
    /// How many descriptors are waited for. Without any, the kernel need not be polled.
    descriptors: Cell<usize>,
    poller: RefCell<Option<Poller>>,
}

impl Trampoline {
    fn new() -> Trampoline {
        let main = Rc::new(Fiber::new(0));
        Trampoline {
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
            poller: RefCell::default(),
        }
    }

    /// The trampoline of this thread.
    #[inline]
    pub fn with<T>(f: impl FnOnce(&Trampoline) -> T) -> T {
        TRAMPOLINE.with(f)
    }

    /// Begins what [`finish`](Trampoline::finish) ends.
    ///
    /// # Panics
    ///
    /// When it has already begun.
    pub fn begin(&self) {
        assert!(!self.open.replace(true), "scheduler::run inside of scheduler::run");
    }

    /// Closes all tasks that have not ended.
    pub fn finish(&self) {
        while let Some(fiber) = self.any_task() {
            self.close(&fiber);
        }
        self.ready.take();
        self.before_poll.set(0);
        self.poller.take();
        self.open.set(false);
    }

    fn any_task(&self) -> Option<Rc<Fiber>> {
        Some(self.tasks.borrow().first_key_value()?.1.clone())
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.tasks.borrow().len()
    }

    #[inline]
    pub fn running(&self) -> Rc<Fiber> {
        self.running.borrow().clone()
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Puts a new task into the queue. `body` catches its own panics, and learns whether it was
    /// closed before its start.
    pub fn start(&self, body: impl FnOnce(bool) + 'static) -> io::Result<Rc<Fiber>> {
        assert!(self.open.get(), "tasks are spawned inside of scheduler::run");
        let stack = PooledStack::new()?;
        let fiber = Rc::new(Fiber::new(self.number()));
        let own = Rc::downgrade(&fiber);
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            let fiber = own.upgrade().expect("the trampoline holds a task until it ends");
            fiber.yielder.set(Some(NonNull::from_ref(yielder)));
            body(fiber.closing.get());
        });
        fiber.coroutine.replace(Some(coroutine));
        self.tasks.borrow_mut().insert(fiber.id, fiber.clone());
        fiber.state.set(State::Waiting);
        self.wake(fiber.clone(), Wake::Again);
        Ok(fiber)
    }

    /// Puts a waiting task into the queue. The first reason wins.
    #[inline]
    pub fn wake(&self, fiber: Rc<Fiber>, why: Wake) {
        if fiber.state.replace(State::Active) != State::Active {
            fiber.why.set(why);
            self.ready.borrow_mut().push_back(fiber);
        }
    }

    /// Leaves the running task until it is woken. `main` cannot leave: it runs the trampoline
    /// meanwhile.
    ///
    /// Inlined, with all calls between it and the task's own code: a processor predicts the target
    /// of a return from the calls before it, and after a switch of stacks that is wrong.
    #[inline]
    pub fn suspend(&self, state: State) -> Wake {
        let yielder = {
            let running = self.running.borrow();
            running.state.set(state);
            running.yielder.get()
        };
        match yielder {
            Some(yielder) => leave(yielder),
            None => self.take_turns(),
        }
        let why = self.running.borrow().why.get();
        if let Wake::Closed = why {
            unwind();
        }
        why
    }

    /// Resumes the first in the queue, again and again, until it is `main`'s turn.
    #[inline(never)]
    fn take_turns(&self) {
        assert!(self.open.get(), "tasks wait inside of scheduler::run");
        if self.main.state.get() == State::Next {
            self.wake(self.main.clone(), Wake::Again);
        }
        loop {
            if self.before_poll.get() == 0 {
                self.poll();
                self.before_poll.set(self.ready.borrow().len());
            }
            self.before_poll.set(self.before_poll.get() - 1);
            let next = self.ready.borrow_mut().pop_front();
            let fiber = next.expect("poll returns when a task can run");
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
            return; // closed while in the queue
        };
        self.running.replace(fiber.clone());
        let result = coroutine.resume(());
        if let CoroutineResult::Return(()) = result {
            *slot = None;
            self.end(&fiber);
        } else if fiber.closing.get() {
            drop(slot);
            self.close(&fiber);
        } else if fiber.state.get() == State::Next {
            drop(slot);
            fiber.state.set(State::Active);
            fiber.why.set(Wake::Again);
            self.ready.borrow_mut().push_back(fiber);
        }
    }

    /// Ends a task at its current wait: its stack is unwound. A task that runs, or has called the
    /// one that runs, ends at its next wait.
    pub fn close(&self, fiber: &Rc<Fiber>) {
        fiber.closing.set(true);
        let Ok(coroutine) = fiber.coroutine.try_borrow_mut().map(|mut slot| slot.take()) else {
            return; // it runs
        };
        let Some(coroutine) = coroutine else {
            return; // it has ended, or is being closed already
        };
        let before = self.running.replace(fiber.clone());
        finish(coroutine, |_| {
            fiber.state.set(State::Active);
            fiber.why.set(Wake::Closed);
        });
        self.running.replace(before);
        self.end(fiber);
    }

    fn end(&self, fiber: &Rc<Fiber>) {
        fiber.state.set(State::Active); // it cannot be woken any more
        fiber.yielder.set(None);
        self.tasks.borrow_mut().remove(&fiber.id);
        fiber.done.set.set(true);
        self.wake_all(&fiber.done);
    }

    /// Wakes the tasks that wait for this event, whether it is set or not.
    pub fn wake_all(&self, event: &Event) {
        self.wake_waiting(event.key(), EpollFlags::all());
    }

    /// Wakes the tasks that wait for this source, in the order they came.
    fn wake_waiting(&self, key: Key, got: EpollFlags) {
        let mut waiting = self.waiting.borrow_mut();
        for ((.., index), one) in waiting.extract_if(all_of(key), |_, _| true) {
            if let Key::Fd(_) = key {
                self.descriptors.set(self.descriptors.get() - 1);
            }
            let news = got.intersects(one.flags);
            self.wake(one.fiber, if news { Wake::Ready(index) } else { Wake::Again });
        }
    }

    /// Checks for events and for deadlines that have passed. If no task can run, waits for them.
    fn poll(&self) {
        loop {
            let idle = self.ready.borrow().is_empty();
            let first = self.timers.borrow().first_key_value().map(|(key, _)| key.0);
            let left = if idle { first.map(until) } else { Some(Duration::ZERO) };
            if self.descriptors.get() > 0 {
                let mut poller = self.poller.borrow_mut();
                let poller = poller.as_mut().expect("made for the first descriptor");
                poller.poll(left, |fd, got| self.wake_waiting(Key::Fd(fd), got));
            } else if idle {
                match left {
                    Some(left) => thread::sleep(left),
                    None => self.wake(self.main.clone(), Wake::Deadlock),
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

    fn arm(&self, fd: BorrowedFd<'_>, flags: EpollFlags) -> io::Result<()> {
        match &mut *self.poller.borrow_mut() {
            Some(poller) => poller.arm(fd, flags),
            none => none.insert(Poller::new()?).arm(fd, flags),
        }
    }

    /// This descriptor has just been opened. Another one may have had its number before.
    pub fn opened(&self, fd: BorrowedFd<'_>) {
        if let Some(poller) = &mut *self.poller.borrow_mut() {
            poller.is_new(fd);
        }
    }

    fn fire_timers(&self, now: Instant) {
        let mut timers = self.timers.borrow_mut();
        while let Some(first) = timers.first_entry()
            && first.key().0 <= now
        {
            self.wake(first.remove(), Wake::TimedOut);
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
            closing: Cell::new(false),
            done: Event::default(),
            id,
        }
    }
}

/// One wait of the running task, registered from `new` to `drop`.
pub struct Registered<'a> {
    trampoline: &'a Trampoline,
    sources: &'a [Source<'a>],
    deadline: Option<Instant>,
    number: u64,
}

impl<'a> Registered<'a> {
    pub fn new(
        trampoline: &'a Trampoline,
        sources: &'a [Source<'a>],
        deadline: Option<Instant>,
    ) -> io::Result<Registered<'a>> {
        let fiber = &*trampoline.running.borrow();
        let number = trampoline.number();
        let registered = Registered { trampoline, sources, deadline, number };
        if let Some(deadline) = deadline {
            trampoline.timers.borrow_mut().insert((deadline, number), fiber.clone());
        }
        for (index, source) in sources.iter().enumerate() {
            let key = source.key();
            let mut flags = EpollFlags::all();
            let mut waiting = trampoline.waiting.borrow_mut();
            if let Source::Fd(fd, wanted) = *source {
                flags = wanted;
                // Ten thousand tasks may wait for one descriptor. If one of them has already asked
                // the kernel for the same events, that is enough.
                let mut others = waiting.range(all_of(key)).map(|(_, other)| other.flags);
                if !others.next().is_some_and(|first| first.contains(wanted)) {
                    let others = waiting.range(all_of(key)).map(|(_, other)| other.flags);
                    trampoline.arm(fd, others.fold(wanted, EpollFlags::union))?;
                }
                trampoline.descriptors.set(trampoline.descriptors.get() + 1);
            }
            let fiber = fiber.clone();
            waiting.insert((key, number, index), Waiting { fiber, flags });
        }
        Ok(registered)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let trampoline = self.trampoline;
        if let Some(deadline) = self.deadline {
            trampoline.timers.borrow_mut().remove(&(deadline, self.number));
        }
        for (index, source) in self.sources.iter().enumerate() {
            let key = source.key();
            let mut waiting = trampoline.waiting.borrow_mut();
            if waiting.remove(&(key, self.number, index)).is_none() {
                continue; // its event has come
            }
            if let Source::Fd(fd, _) = *source {
                trampoline.descriptors.set(trampoline.descriptors.get() - 1);
                if waiting.range(all_of(key)).next().is_none()
                    && let Some(poller) = &mut *trampoline.poller.borrow_mut()
                {
                    poller.disarm(fd);
                }
            }
        }
    }
}

fn all_of(key: Key) -> RangeInclusive<(Key, u64, usize)> {
    (key, 0, 0)..=(key, u64::MAX, usize::MAX)
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Switches from the running task's stack back to the trampoline.
#[inline]
#[expect(unsafe_code, reason = "the yielder is known by its address")]
fn leave(yielder: NonNull<Yielder<(), ()>>) {
    // SAFETY: the yielder lies at the bottom of the running task's stack, and this function runs on
    // that stack or above it: `resume` and `close` set the running task just before they switch to
    // it, and a task without a coroutine is never set again.
    unsafe { yielder.as_ref() }.suspend(());
}
