//! gil: CPython's Global Interpreter Lock, and what it does to threads that compute or wait.
//! A thread runs only while it holds the lock; it releases it at a safe point, on request.
//! Run it: cargo run -p threads -- gil

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use common::machine::cpu_seconds;
use common::registry::Flags;
use common::report::bars::{Bar, bars};
use common::report::section::Section;
use common::report::stats::Times;
use common::report::timeline;
use common::report::verdict::Verdict;
use common::span::Span;
use common::workload::cpu_bound::{Count, Counted};
use serde_json::json;

use super::limit::no_thread;

/// CPython's switch interval (`sys.getswitchinterval`).
const INTERVAL: Duration = Duration::from_millis(5);

/// Before 3.2 a thread released the lock after this many ticks (`sys.setcheckinterval`).
const TICKS: u32 = 100;

/// A lock that a thread has to hold in order to run (`Python/ceval_gil.c`).
pub struct Gil {
    state: Mutex<State>,
    /// The lock was released.
    released: Condvar,
    /// The lock was taken.
    switched: Condvar,
    /// A waiter asks the holder to release it. Read without the lock at every safe point.
    drop_request: AtomicBool,
    policy: Policy,
    /// How many threads are running, and the maximum so far.
    inside: AtomicUsize,
    most_inside: AtomicUsize,
}

/// When a holder releases the lock.
#[derive(Clone, Copy)]
pub enum Policy {
    /// Since 3.2: when a waiter has waited this long. The holder then waits until a waiter has it.
    Interval(Duration),
    /// Before 3.2: after this many ticks, with or without a waiter. Then the fastest thread takes
    /// it.
    Ticks(u32),
}

#[derive(Default)]
struct State {
    holder: Option<ThreadId>,
    last_holder: Option<ThreadId>,
    waiting: usize,
    /// How often the lock went to another thread.
    switches: u64,
    /// How often a waiter had to ask.
    requests: u64,
    /// How often a waiter woke up and found that another thread had taken the lock.
    in_vain: u64,
}

impl Gil {
    pub fn new(policy: Policy) -> Gil {
        Gil {
            state: Mutex::default(),
            released: Condvar::new(),
            switched: Condvar::new(),
            drop_request: AtomicBool::new(false),
            policy,
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
        }
    }

    /// Waits for the lock, and holds it until the returned value is dropped. A panic drops it too:
    /// otherwise all others would wait forever.
    ///
    /// # Panics
    /// If this thread holds it already: it would wait for itself.
    pub fn acquire(&self) -> Held<'_> {
        self.take_gil();
        Held(self)
    }

    fn take_gil(&self) {
        let me = thread::current().id();
        let holder = self.lock().holder;
        assert_ne!(holder, Some(me), "this thread holds the GIL already");
        let mut state = self.lock();
        state.waiting += 1;
        while state.holder.is_some() {
            state = match self.policy {
                Policy::Interval(interval) => self.ask_after(interval, state),
                Policy::Ticks(_) => self.released.wait(state).expect("no holder panics"),
            };
            state.in_vain += u64::from(state.holder.is_some());
        }
        state.waiting -= 1;
        state.switches += u64::from(state.last_holder.is_some_and(|last| last != me));
        state.holder = Some(me);
        state.last_holder = Some(me);
        self.drop_request.store(false, SeqCst);
        self.most_inside.fetch_max(self.inside.fetch_add(1, SeqCst) + 1, SeqCst);
        self.switched.notify_all();
    }

    /// Waits for an interval. If no thread got the lock in that time, asks for it.
    fn ask_after<'a>(
        &self,
        interval: Duration,
        state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let switches = state.switches;
        let waited = self.released.wait_timeout(state, interval);
        let (mut state, timeout) = waited.expect("no holder panics");
        if timeout.timed_out() && state.holder.is_some() && state.switches == switches {
            state.requests += 1;
            self.drop_request.store(true, SeqCst);
        }
        state
    }

    fn drop_gil(&self) {
        let mut state = self.lock();
        self.inside.fetch_sub(1, SeqCst);
        state.holder = None;
        self.released.notify_one();
        // Forced switching: a holder that was asked does not compete for the lock that it has
        // released.
        let me = Some(thread::current().id());
        while self.drop_request.load(SeqCst) && state.last_holder == me && state.waiting > 0 {
            state = self.switched.wait(state).expect("no holder panics");
        }
    }

    /// The place between two instructions where a thread may lose the lock (the eval breaker).
    pub fn safe_point(&self, ticks: &mut u32) {
        *ticks = ticks.wrapping_add(1);
        let due = match self.policy {
            Policy::Interval(_) => self.drop_request.load(SeqCst),
            Policy::Ticks(most) => ticks.is_multiple_of(most.max(1)),
        };
        if due {
            self.drop_gil();
            self.take_gil();
        }
    }

    /// Runs `wait` without the lock (`Py_BEGIN_ALLOW_THREADS`), and returns how long it took to get
    /// the lock back.
    pub fn allow_threads(&self, wait: impl FnOnce()) -> Duration {
        self.drop_gil();
        // A caller that catches the panic of `wait` still expects to hold the lock.
        let result = panic::catch_unwind(AssertUnwindSafe(wait));
        let ready = Instant::now();
        self.take_gil();
        if let Err(panic) = result {
            panic::resume_unwind(panic);
        }
        ready.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// A thread's right to run.
#[must_use = "the lock is released when this is dropped"]
pub struct Held<'a>(&'a Gil);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.drop_gil();
    }
}

/// The figures of one experiment.
struct Act {
    name: &'static str,
    seconds: f64,
    cores: f64,
    primes: Vec<u64>,
    spans: Vec<Span>,
    most_inside: usize,
    switches: u64,
    requests: u64,
    in_vain: u64,
}

/// `threads` threads count primes. If there is a lock, each counts only while it holds it.
fn compute(name: &'static str, threads: usize, gil: Option<&Gil>) -> io::Result<Act> {
    let mut walls = Times::default();
    let at_work = AtWork::default();
    let at_work = &at_work;
    let cpu = cpu_seconds();
    let counted = walls.time(|| {
        thread::scope(|scope| {
            let mut tasks = Vec::new();
            for task in 0..threads {
                let count = move || count(task, gil, at_work);
                tasks.push(thread::Builder::new().spawn_scoped(scope, count).map_err(no_thread)?);
            }
            let mut counted = Vec::new();
            for task in tasks {
                counted.push(task.join().expect("counting does not panic"));
            }
            io::Result::Ok(counted)
        })
    })?;
    let seconds = walls.median();
    let state = gil.map(|gil| std::mem::take(&mut *gil.lock())).unwrap_or_default();
    Ok(Act {
        name,
        seconds,
        cores: (cpu_seconds() - cpu) / seconds,
        primes: counted.iter().map(|c| c.primes).collect(),
        spans: counted.into_iter().flat_map(|c| c.spans).collect(),
        most_inside: gil.map_or(0, |_| at_work.most.load(SeqCst)),
        switches: state.switches,
        requests: state.requests,
        in_vain: state.in_vain,
    })
}

/// How many threads compute, and the maximum so far. It is counted in the computing code, so it
/// shows whether the lock works.
#[derive(Default)]
struct AtWork {
    now: AtomicUsize,
    most: AtomicUsize,
}

fn count(task: usize, gil: Option<&Gil>, at_work: &AtWork) -> Counted {
    let mut count = Count::in_slices_of(20, task, 500_000);
    let mut ticks = 0;
    let _held = gil.map(Gil::acquire);
    let mut slice = || {
        at_work.most.fetch_max(at_work.now.fetch_add(1, SeqCst) + 1, SeqCst);
        let more = count.slice();
        at_work.now.fetch_sub(1, SeqCst);
        more
    };
    while slice() {
        if let Some(gil) = gil {
            gil.safe_point(&mut ticks);
        }
    }
    count.finish()
}

/// How much longer a thread that does IO all the time waits for the lock, while another thread
/// computes: the convoy effect. The median of `rounds`.
fn convoy(interval: Duration, rounds: usize) -> io::Result<Duration> {
    let gil = Gil::new(Policy::Interval(interval));
    let done = AtomicBool::new(false);
    let computes = || {
        let _held = gil.acquire();
        let mut ticks = 0;
        while !done.load(SeqCst) {
            let mut count = Count::in_slices_of(20, 0, 10_000);
            while count.slice() {
                gil.safe_point(&mut ticks);
            }
        }
    };
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, computes).map_err(no_thread)?;
        let _held = gil.acquire();
        let io = || thread::sleep(Duration::from_millis(1));
        let mut waits: Vec<_> = (0..rounds).map(|_| gil.allow_threads(io)).collect();
        done.store(true, SeqCst);
        waits.sort_unstable();
        Ok(waits[rounds / 2])
    })
}

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = show(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn show(section: &mut Section) -> io::Result<()> {
    let new = || Gil::new(Policy::Interval(INTERVAL));
    let acts = [
        compute("1, no GIL", 1, None)?,
        compute("1 under it", 1, Some(&new()))?,
        compute("3, no GIL", 3, None)?,
        compute("3 under it", 3, Some(&new()))?,
        compute("3, before 3.2", 3, Some(&Gil::new(Policy::Ticks(TICKS))))?,
    ];
    let (slow, fast) = (INTERVAL, Duration::from_millis(1));
    let convoys = [(slow, convoy(slow, 31)?), (fast, convoy(fast, 31)?)];
    for act in &acts {
        let Act { name, primes, most_inside, .. } = act;
        let first = primes[0];
        let inside = match most_inside {
            0 => "no thread asks for the lock".to_string(),
            n => format!("at most {n} ran at a time"),
        };
        let threads = primes.len();
        section.answer.push(format!("{name:<12} {threads} × {first} primes, {inside}"));
        if primes.iter().any(|&p| p != first) || *most_inside > 1 {
            section.wrong = Some(format!("{name}: {primes:?} primes, {inside}"));
        }
        section.measure(
            name,
            json!({"seconds": act.seconds, "cores": act.cores,
            "switches": act.switches, "requests": act.requests, "in_vain": act.in_vain,
            "most_inside": act.most_inside}),
        );
    }
    for (interval, wait) in convoys {
        section.measure(&format!("convoy at {interval:?}"), json!(wait.as_secs_f64()));
    }
    draw(section, &acts, convoys);
    section.spans = acts.into_iter().nth(3).map(|act| act.spans).unwrap_or_default();
    Ok(())
}

fn draw(section: &mut Section, acts: &[Act; 5], convoys: [(Duration, Duration); 2]) {
    let bar = |act: &Act| {
        let forced = match act.most_inside {
            0 => format!("{:.2} cores", act.cores),
            _ => format!("{:.2} cores, {} switches", act.cores, act.switches),
        };
        Bar::new(act.name, act.seconds, &forced)
    };
    section.shown = bars(&acts.iter().map(bar).collect::<Vec<_>>());
    let (under, ticks) = (&acts[3], &acts[4]);
    section
        .shown
        .push("  three threads under the GIL: one runs, until another asks for the lock".into());
    section.shown.extend(timeline::draw(&under.spans));
    section.shown.push(format!(
        "  the waiters asked {} times, and the lock changed hands {} times",
        under.requests, under.switches
    ));
    section.shown.push(format!(
        "  till 3.1, released every {TICKS} ticks: {} hand-overs, {} useless wake-ups",
        ticks.switches, ticks.in_vain
    ));
    for (interval, wait) in convoys {
        section.shown.push(format!(
            "  after 1 ms of IO a thread waits {:.1} ms more for the lock; interval {interval:?}",
            wait.as_secs_f64() * 1e3
        ));
    }
}

/// Figures of experiments; `None` if the aside had an error before it had them.
fn figures<const N: usize>(section: &Section, names: [(&str, &str); N]) -> Option<[f64; N]> {
    let figure = |(act, name)| section.measured.get(act)?.get(name)?.as_f64();
    let found: Vec<f64> = names.into_iter().map_while(figure).collect();
    found.try_into().ok()
}

fn no_figures() -> Verdict {
    Verdict::NotMeasurable("gil ended before it had figures".into())
}

/// T6: with a GIL only one thread runs at a time.
pub fn one_runs_at_a_time(section: &Section) -> Verdict {
    let names = ["most_inside", "switches"].map(|name| ("3 under it", name));
    let Some([most, switches]) = figures(section, names) else { return no_figures() };
    let said =
        format!("at most {most} computed at a time; the lock changed hands {switches} times");
    if (most - 1.0).abs() < 0.5 && switches > 0.0 {
        Verdict::Holds(said)
    } else {
        Verdict::Fails(said)
    }
}

/// T7: one thread under a GIL: no loss.
pub fn one_loses_nothing(section: &Section) -> Verdict {
    let cpu = |act| {
        let [seconds, cores] = figures(section, [(act, "seconds"), (act, "cores")])?;
        Some(seconds * cores)
    };
    let (Some(plain), Some(under)) = (cpu("1, no GIL"), cpu("1 under it")) else {
        return no_figures();
    };
    let names = ["most_inside", "requests", "in_vain"].map(|name| ("1 under it", name));
    let Some([most, requests, in_vain]) = figures(section, names) else { return no_figures() };
    let said = format!(
        "{under:.3} s of CPU under it, {plain:.3} s without; {requests} requests to release, \
         {in_vain} useless wake-ups"
    );
    match () {
        () if (most - 1.0).abs() > 0.5 || requests + in_vain > 0.0 => Verdict::Fails(said),
        () if under > plain * 2.0 => Verdict::Fails(said),
        () if under > plain * 1.25 => Verdict::NotMeasurable(format!("too noisy: {said}")),
        () => Verdict::Holds(said),
    }
}

/// T8: three threads under a GIL: no gain, and the fight for the lock.
pub fn three_gain_nothing(section: &Section) -> Verdict {
    let names = [
        ("3 under it", "cores"),
        ("3, no GIL", "cores"),
        ("3 under it", "requests"),
        ("3, before 3.2", "in_vain"),
    ];
    let Some([cores, free, requests, in_vain]) = figures(section, names) else {
        return no_figures();
    };
    let said = format!(
        "{cores:.2} cores in use under it, {free:.2} without; {requests} requests to release, and \
         {in_vain} useless wake-ups in the lock of ticks"
    );
    match () {
        () if cores > 1.25 || requests + in_vain < 1.0 => Verdict::Fails(said),
        () if free < 1.3 => Verdict::NotMeasurable(format!("one core at work anyway: {said}")),
        () => Verdict::Holds(said),
    }
}

#[cfg(test)]
mod tests;
