//! start-methods: fork, forkserver, spawn: what each costs, and which of them hangs.
//! A forked child has a copy of every lock that another thread held at that moment.
//! Run it: cargo run -p processes -- start-methods

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use common::registry::Flags;
use common::report::section::Section;
use common::report::stats::Times;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::multiprocessing::answer::ProcessError;
use crate::multiprocessing::child::{Child, retry};
use crate::multiprocessing::process;
use crate::multiprocessing::start_methods::{Call, ForkServer, Functions, Served, Spawned};

/// The functions of this program that can be called by name.
pub const FUNCTIONS: &Functions = &[
    ("echo", |n| n),
    ("remembered", |_| MEMORY.load(Relaxed)),
    ("log", |n| {
        drop(log());
        n
    }),
];

/// What this process has learned since it started.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// As in every program: a lock that any thread takes for a moment, now and then.
static LOG: Mutex<()> = Mutex::new(());

fn log() -> MutexGuard<'static, ()> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The three methods: what they cost, what the child knows, and which of them hangs.
pub fn run(_: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = show(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

type Start<'a> = &'a dyn Fn(Call) -> Result<u64, ProcessError>;

const STARTS: u64 = 30;

/// How long to watch a process that may hang, in milliseconds.
const WATCH_MS: u8 = 100;

fn show(section: &mut Section) -> Result<(), ProcessError> {
    let mut first = Times::default();
    let server = first.time(ForkServer::start)?;
    first.time(|| server.spawn(&Call::new("echo", 0))?.join())?;
    // Another process has the thread, so this one can go on forking.
    let beside = process::try_spawn(beside_a_thread)?.join()?;
    MEMORY.store(42, Relaxed); // stored after this program and the server have started

    let fork = |call: Call| process::try_spawn(move || call.run(FUNCTIONS))?.join();
    let forkserver = |call| server.spawn(&call)?.join();
    let spawn = |call| Spawned::start(&call)?.join();
    let methods: [(&str, Start, bool); 3] = [
        ("fork", &fork, beside.fork_got_it),
        ("forkserver", &forkserver, beside.forkserver_got_it),
        ("spawn", &spawn, beside.spawn_got_it),
    ];
    let mut all = Vec::new();
    for (name, start, got_it) in methods {
        let then = if got_it { "done" } else { "hangs" };
        let remembered = start(Call::new("remembered", 0))?;
        section.answer.push(format!(
            "{name:<10} remembers {remembered:>2}; beside a thread that holds a lock: {then}"
        ));
        let mut times = Times::default();
        for n in 0..STARTS {
            if times.time(|| start(Call::new("echo", n)))? != n {
                section.wrong = Some(format!("{name} gave a wrong answer"));
            }
        }
        section.measure(&format!("{name}: seconds"), times.median().into());
        all.push((name, times));
    }
    section.answer.push(format!("refused: {}", beside.refusal));

    section.shown.push(format!("  started, asked, joined: median of {STARTS}, and spread"));
    let longest = all.iter().map(|(_, times)| times.median()).fold(f64::MIN_POSITIVE, f64::max);
    for (name, times) in all {
        let ms = times.median() * 1e3;
        let low = times.seconds.iter().copied().fold(f64::MAX, f64::min) * 1e3;
        let high = times.seconds.iter().copied().fold(0.0, f64::max) * 1e3;
        let bar = "█".repeat((ms / longest / 1e3 * 32.0).round().max(1.0) as usize);
        section.shown.push(format!("  {name:<10} {ms:>6.2} ms  {bar:<32}  {low:.2}–{high:.2}"));
    }
    let before: f64 = first.seconds.iter().sum();
    section.shown.push(format!("  and once, the server itself: {:.2} ms", before * 1e3));
    section.shown.push("\n  a thread holds a lock, and the process forks:".into());
    section.shown.push("  main    ╶─────────fork─────────────────gets it╴".into());
    section.shown.push("  thread  ╶holds it─────────────releases╴".into());
    section.shown.push("  child             ╶wants it─────────────────────────────────✗".into());
    section.shown.push(format!(
        "  killed after {WATCH_MS} ms: a thread that it has no copy of holds its lock"
    ));
    Ok(())
}

/// What happens to three processes that want a lock that a thread of their parent holds.
#[derive(Serialize, Deserialize)]
struct Beside {
    fork_got_it: bool,
    forkserver_got_it: bool,
    spawn_got_it: bool,
    /// The error of [`process::spawn`] in that case.
    refusal: String,
}

fn beside_a_thread() -> Beside {
    let failed = "the machine has room for three processes";
    let server = ForkServer::start().expect(failed);
    let (holds, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _guard = log();
        let _ = holds.send(());
        let _ = released.recv();
    });
    held.recv().expect("the thread holds the lock first, then it waits");

    let forked = fork_to_lock().expect(failed);
    let refusal = refusal();
    let call = Call::new("log", 1);
    let served = server.spawn(&call).map_err(ProcessError::from).and_then(Served::join);
    let spawned = Spawned::start(&call).map_err(ProcessError::from).and_then(Spawned::join);

    drop(release);
    thread.join().expect("the thread does not panic");
    drop(log()); // here it is released again
    Beside {
        fork_got_it: ends_in_time(&forked).expect("poll is given an open descriptor"),
        forkserver_got_it: served.is_ok(),
        spawn_got_it: spawned.is_ok(),
        refusal,
    } // dropped, the forked one is killed
}

#[expect(unsafe_code, reason = "it shows what goes wrong")]
fn fork_to_lock() -> io::Result<Child> {
    // SAFETY: the child only waits for a lock, which is an atomic and a system call. (It does not
    // crash. It waits for a thread that does not exist in the child.)
    unsafe {
        Child::fork_beside_threads(|| {
            drop(log());
            0
        })
    }
}

/// The error of our own fork in that case.
fn refusal() -> String {
    match process::try_spawn(|| ()) {
        Ok(_) => "nothing".into(),
        Err(error) => error.to_string(),
    }
}

/// The watchdog: whether the child ends in time.
fn ends_in_time(child: &Child) -> io::Result<bool> {
    let Some(death) = child.pidfd() else { return Ok(true) };
    let mut sources = [PollFd::new(death, PollFlags::POLLIN)];
    Ok(retry(|| poll(&mut sources, PollTimeout::from(WATCH_MS)))? > 0)
}
