//! Greenlets with the interface of threads (`spawn`, `join`) and with `kill`, which threads do not
//! have. A greenlet runs until it waits. A new one runs only after the one that spawned it waits.

use std::any::Any;
use std::fs;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use may::coroutine::{self, Builder, JoinHandle};

use crate::gevent::helpers::run_borrowed;
use crate::gevent::line::{Waiters, wait_in};
use crate::gevent::queue::Queue;
use crate::gevent::timeout::{GreenletExit, from_now, what_unwinds};
use crate::gevent::waiter::{Life, in_greenlet, locked, uncooperative};
use crate::gevent::{fork, hub};

/// The stack of the main greenlet, in machine words: 1 MiB, enough for any `main`.
const MAIN_STACK_WORDS: usize = 0x2_0000;

/// A greenlet that was spawned. Dropping it lets the greenlet run on by itself.
pub struct Greenlet<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    life: Arc<Life>,
    outcome: Mutex<Outcome<T>>,
}

/// What to do when a greenlet has finished.
type Link = Box<dyn FnOnce() + Send>;

struct Outcome<T> {
    finished: bool,
    result: Option<thread::Result<T>>,
    links: Vec<Link>,
    joining: Waiters,
}

/// `gevent.spawn`: starts a greenlet. It runs as soon as the greenlet that spawned it waits.
///
/// If the machine cannot hold another greenlet, it returns one whose `join` fails. `try_spawn`
/// fails immediately.
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match try_spawn(f) {
        Ok(greenlet) => greenlet,
        Err(error) => Greenlet::failed(Box::new(error)),
    }
}

/// Like `spawn`.
///
/// # Errors
///
/// `OutOfMemory` if the machine cannot hold more greenlets. The message says how many there are,
/// and what limits them.
pub fn try_spawn<F, T>(f: F) -> io::Result<Greenlet<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    hub::start();
    let place = Place::take()?;
    let greenlet = Greenlet::new();
    let shared = greenlet.shared.clone();
    let body = move || {
        shared.life.begin();
        let result = if shared.life.is_killed() {
            Err(Box::new(GreenletExit) as Box<dyn Any + Send>)
        } else {
            catch_unwind(AssertUnwindSafe(f)).map_err(what_unwinds)
        };
        end_in_child(&result);
        drop(place);
        shared.finish(result);
    };
    uncooperative(|| start(Builder::new(), body))?;
    Ok(greenlet)
}

/// Runs `f` as the main greenlet, while the calling OS thread waits, and returns its result.
/// Greenlets that `f` spawns start in order, from the moment `f` waits. In a greenlet it is a plain
/// call.
pub fn run<T, F>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if in_greenlet() {
        return f();
    }
    hub::start();
    let life = Arc::new(Life::default());
    let body = move || {
        life.begin();
        let result = catch_unwind(AssertUnwindSafe(f)).map_err(what_unwinds);
        end_in_child(&result);
        result
    };
    let start = |job| {
        let main = Builder::new().stack_size(MAIN_STACK_WORDS);
        start(main, job).expect("the first stack of a program can be had");
    };
    #[expect(
        unsafe_code,
        reason = "a main greenlet that borrows from the thread that waits for it"
    )]
    // SAFETY: a coroutine that was started runs its job to the end.
    let result = unsafe { run_borrowed(body, start) };
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Ends a child that was forked in this greenlet: all other greenlets are copies of the parent's.
fn end_in_child<T>(result: &thread::Result<T>) {
    if fork::in_child() {
        let code = if result.is_ok() { 0 } else { 101 };
        #[expect(unsafe_code, reason = "_exit")]
        // SAFETY: takes no pointer, and runs no exit handler of the parent.
        unsafe {
            libc::_exit(code)
        }
    }
}

/// Starts a coroutine at the end of the queue. `may` would put a new one into a second queue, which
/// it reads only when the first is empty. Greenlets that are woken meanwhile would overtake it. So
/// a greenlet enters the coroutine at once, lets it park, and unparks it.
fn start(builder: Builder, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if coroutine::is_coroutine() {
        let parked = enter(builder, || {
            coroutine::park();
            body();
        });
        parked.map(|parked| parked.coroutine().unpark())
    } else {
        spawn_outside(builder, body).map(drop)
    }
}

type Started = io::Result<JoinHandle<()>>;

#[expect(unsafe_code, reason = "may::coroutine::Builder::spawn_local is unsafe")]
fn enter(builder: Builder, body: impl FnOnce() + Send + 'static) -> Started {
    // SAFETY: there is one worker, so a greenlet always finds its thread-locals again. A stack that
    // overflows ends at a guard page.
    or_no_stack(|| unsafe { builder.spawn_local(body) })
}

#[expect(unsafe_code, reason = "may::coroutine::Builder::spawn is unsafe")]
fn spawn_outside(builder: Builder, body: impl FnOnce() + Send + 'static) -> Started {
    // SAFETY: as in `enter`.
    or_no_stack(|| unsafe { builder.spawn(body) })
}

/// `may` panics if the kernel has no stack left.
fn or_no_stack(spawn: impl FnOnce() -> Started) -> Started {
    catch_unwind(AssertUnwindSafe(spawn)).unwrap_or_else(|_| Err(Place::none_left()))
}

/// `gevent.joinall`: waits until all have finished; false if the timeout expires first. Their
/// results can still be joined.
pub fn joinall<T>(tasks: &[Greenlet<T>], timeout: Option<Duration>) -> bool {
    let until = from_now(timeout);
    tasks.iter().all(|task| task.wait(until))
}

/// `gevent.iwait`: the greenlets in the order in which they finish.
pub fn iwait<T>(tasks: Vec<Greenlet<T>>) -> impl Iterator<Item = Greenlet<T>> {
    let finished = Queue::new();
    for (i, task) in tasks.iter().enumerate() {
        let finished = finished.clone();
        task.link(move || finished.put(i));
    }
    let mut left: Vec<_> = tasks.into_iter().map(Some).collect();
    (0..left.len()).filter_map(move |_| left[finished.get()].take())
}

impl<T> Greenlet<T> {
    fn new() -> Self {
        Self { shared: Arc::new(Shared { life: Arc::default(), outcome: Mutex::default() }) }
    }

    fn failed(reason: Box<dyn Any + Send>) -> Self {
        let greenlet = Self::new();
        greenlet.shared.finish(Err(reason));
        greenlet
    }

    /// Waits for the greenlet to finish and gives its result.
    ///
    /// # Errors
    ///
    /// The payload of its panic; `GreenletExit` if it was killed; an `io::Error` if it could not be
    /// started.
    pub fn join(self) -> thread::Result<T> {
        self.wait(None);
        self.shared.take_result()
    }

    /// Waits until the greenlet has finished; false if `until` comes first.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        let finished = |outcome: &mut Outcome<T>| outcome.finished.then_some(());
        wait_in(&self.shared.outcome, |outcome| &mut outcome.joining, until, finished).is_some()
    }

    /// Calls `f` when the greenlet has finished, or immediately if it already has: gevent's `link`.
    /// `f` must not wait: it runs at the end of that greenlet, before any other greenlet. If it
    /// panics, the panic is printed, and the other links are still called.
    pub fn link(&self, f: impl FnOnce() + Send + 'static) {
        let mut f: Option<Link> = Some(Box::new(f));
        locked(&self.shared.outcome, |outcome| {
            if !outcome.finished {
                outcome.links.extend(f.take());
            }
        });
        if let Some(f) = f {
            let _printed = catch_unwind(AssertUnwindSafe(f));
        }
    }

    /// Like `link`; `f` gets the result that `join` would return.
    pub fn link_result(self, f: impl FnOnce(thread::Result<T>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let shared = self.shared.clone();
        self.link(move || f(shared.take_result()));
    }

    /// Whether it has finished, in any way.
    pub fn ready(&self) -> bool {
        locked(&self.shared.outcome, |outcome| outcome.finished)
    }

    /// A handle with which a group can kill it.
    pub fn life(&self) -> Arc<Life> {
        self.shared.life.clone()
    }

    /// Ends the current wait of the greenlet, and every later one: a call of std fails with
    /// `ECANCELED`, one of ours unwinds with `GreenletExit`, a patched `thread::sleep` ends early,
    /// and a lock is still waited for. A greenlet that has not started never runs. `kill` does not
    /// wait for the end: `join` does.
    pub fn kill(&self) {
        self.shared.life.kill();
    }
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        let (links, joining) = (Vec::new(), Waiters::default());
        Outcome { finished: false, result: None, links, joining }
    }
}

impl<T> Shared<T> {
    fn take_result(&self) -> thread::Result<T> {
        let result = locked(&self.outcome, |outcome| outcome.result.take());
        result.expect("the result is taken once, after the end")
    }

    fn finish(&self, result: thread::Result<T>) {
        let links = locked(&self.outcome, |outcome| {
            outcome.finished = true;
            outcome.result = Some(result);
            outcome.joining.wake_all();
            mem::take(&mut outcome.links)
        });
        for link in links {
            let _printed = catch_unwind(AssertUnwindSafe(link));
        }
    }
}

/// How many greenlets can live at once: each stack takes two of the kernel's memory mappings (the
/// pages and their guard), and a process may have `vm.max_map_count` of them.
pub fn most() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| uncooperative(|| count_places().unwrap_or(usize::MAX)))
}

/// Mappings left to the rest of the program: libraries, threads, the allocator.
const SPARE_MAPPINGS: usize = 1_500;

fn count_places() -> Option<usize> {
    let limit = fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
    let limit: usize = limit.trim().parse().ok()?;
    Some(limit.saturating_sub(SPARE_MAPPINGS) / 2)
}

/// A living greenlet's place among `most`.
struct Place;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Place {
    fn take() -> io::Result<Self> {
        let most = most();
        if TAKEN.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(Self);
        }
        TAKEN.fetch_sub(1, Ordering::Relaxed);
        Err(Self::none_left())
    }

    fn none_left() -> io::Error {
        let living = TAKEN.load(Ordering::Relaxed);
        let sentence = format!(
            "{living} greenlets are as many as this machine can hold: each stack takes two \
             memory mappings, and vm.max_map_count limits them"
        );
        io::Error::new(io::ErrorKind::OutOfMemory, sentence)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gevent::event::Event;
    use crate::tests::greenlets;

    #[test]
    fn a_wait_that_times_out_leaves_nothing_behind() {
        let left = greenlets(|| {
            let gate = Event::new();
            let theirs = gate.clone();
            let task = [spawn(move || theirs.wait())];
            for _ in 0..100 {
                assert!(!joinall(&task, Some(Duration::ZERO)));
            }
            let count = |outcome: &mut Outcome<()>| (outcome.joining.len(), outcome.links.len());
            let left = locked(&task[0].shared.outcome, count);
            gate.set();
            joinall(&task, None);
            left
        });
        assert_eq!(left, (0, 0));
    }
}
