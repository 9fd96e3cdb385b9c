//! Shared memory and its lock between real processes.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicI64, AtomicU64};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::pause;

#[allow(dead_code, reason = "each suite uses a part of it")]
#[path = "../src/multiprocessing/mod.rs"]
mod multiprocessing;
mod runner;

use multiprocessing::answer::panic_message;
use multiprocessing::process::{self, Process};
use multiprocessing::shared_memory::{Shared, SharedBarrier, SharedLock};

fn main() -> ExitCode {
    runner::main(&[
        ("what_is_written_is_seen", what_is_written_is_seen),
        ("a_dropped_copy_takes_nothing_away", a_dropped_copy_takes_nothing_away),
        ("no_values_are_no_problem", no_values_are_no_problem),
        ("an_update_between_load_and_store_is_lost", an_update_between_load_and_store_is_lost),
        ("the_lock_lets_one_in_at_a_time", the_lock_lets_one_in_at_a_time),
        ("the_lock_survives_its_holder", the_lock_survives_its_holder),
        (
            "the_lock_survives_its_holder_for_one_who_waits",
            the_lock_survives_its_holder_for_one_who_waits,
        ),
        ("the_lock_is_not_inherited_by_a_child", the_lock_is_not_inherited_by_a_child),
        ("a_forgotten_guard_does_no_harm", a_forgotten_guard_does_no_harm),
        ("to_lock_twice_panics", to_lock_twice_panics),
        ("nothing_is_lost_over_two_hundred_kills", nothing_is_lost_over_two_hundred_kills),
        ("no_memory_left_is_a_sentence", no_memory_left_is_a_sentence),
        ("a_barrier_for_nobody_is_a_sentence", a_barrier_for_nobody_is_a_sentence),
    ])
}

fn words<const N: usize>(values: [i64; N]) -> Shared<AtomicI64> {
    Shared::new(values.map(AtomicI64::new)).unwrap()
}

fn what_is_written_is_seen() {
    let balances = words([100, 0]);
    process::spawn(|| balances[1].store(balances[0].load(Relaxed) + 1, Relaxed)).join().unwrap();
    assert_eq!(balances[1].load(Relaxed), 101);
    assert_eq!(balances.len(), 2);
}

fn a_dropped_copy_takes_nothing_away() {
    let mut both = Some((words([1]), SharedLock::new().unwrap()));
    process::spawn(|| drop(both.take())).join().unwrap();
    let (balances, lock) = both.unwrap();
    let _guard = lock.lock();
    assert_eq!(balances[0].load(Relaxed), 1);
}

fn no_values_are_no_problem() {
    assert!(Shared::<AtomicI64>::new([]).unwrap().is_empty());
}

fn an_update_between_load_and_store_is_lost() {
    let balances = words([0]);
    let (gate, mut opens) = io::pipe().unwrap();
    let (seen, says) = io::pipe().unwrap();
    let task = process::spawn(|| {
        let balance = balances[0].load(Relaxed);
        (&says).write_all(b"x").unwrap();
        (&gate).read_exact(&mut [0]).unwrap();
        balances[0].store(balance + 1, Relaxed);
    });
    (&seen).read_exact(&mut [0]).unwrap();
    balances[0].fetch_add(10, Relaxed);
    opens.write_all(b"x").unwrap();
    task.join().unwrap();
    assert_eq!(balances[0].load(Relaxed), 1);
}

fn the_lock_lets_one_in_at_a_time() {
    let balances = words([0]);
    let lock = SharedLock::new().unwrap();
    let tasks: Vec<_> = (0..4).map(|_| process::spawn(|| add(&lock, &balances, 50_000))).collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(balances[0].load(Relaxed), 200_000);
}

fn add(lock: &SharedLock, balances: &[AtomicI64], times: usize) {
    for _ in 0..times {
        let _guard = lock.lock();
        let balance = balances[0].load(Relaxed);
        balances[0].store(balance + 1, Relaxed);
    }
}

/// A process that holds the lock until it is killed.
fn holder(lock: &SharedLock) -> Process<()> {
    let (seen, says) = io::pipe().unwrap();
    let task = process::spawn(move || {
        let _guard = lock.lock();
        (&says).write_all(b"x").unwrap();
        pause();
    });
    (&seen).read_exact(&mut [0]).unwrap();
    task
}

fn the_lock_survives_its_holder() {
    let lock = SharedLock::new().unwrap();
    assert!(!lock.lock().holder_died());
    let task = holder(&lock);
    task.kill(Signal::SIGKILL).unwrap();
    task.join().unwrap_err();
    assert!(lock.lock().holder_died());
    assert!(!lock.lock().holder_died()); // told once

    let balances = words([0]);
    process::spawn(|| add(&lock, &balances, 10)).join().unwrap();
    assert_eq!(balances[0].load(Relaxed), 10);
}

fn the_lock_survives_its_holder_for_one_who_waits() {
    let lock = SharedLock::new().unwrap();
    let holder = holder(&lock);
    let waiters: Vec<_> = (0..3).map(|_| process::spawn(|| lock.lock().holder_died())).collect();
    for waiter in &waiters {
        wait_until_blocked(waiter);
    }
    holder.kill(Signal::SIGKILL).unwrap();
    let told = waiters.into_iter().map(|waiter| waiter.join().unwrap());
    assert_eq!(told.filter(|told| *told).count(), 1);
}

/// Returns when the kernel says that the process waits in a futex.
fn wait_until_blocked<T>(task: &Process<T>) {
    let call = format!("/proc/{}/syscall", task.pid());
    let futex = format!("{} ", libc::SYS_futex);
    while !std::fs::read_to_string(&call).unwrap().starts_with(&futex) {
        std::thread::yield_now();
    }
}

fn the_lock_is_not_inherited_by_a_child() {
    let lock = SharedLock::new().unwrap();
    let mut guard = Some(lock.lock());
    // Neither its copy of the guard nor its end releases the lock.
    process::spawn(|| drop(guard.take())).join().unwrap();
    let task = process::spawn(|| lock.lock().holder_died());
    wait_until_blocked(&task);
    drop(guard);
    assert!(!task.join().unwrap());
}

fn a_forgotten_guard_does_no_harm() {
    for _ in 0..10 {
        let lock = SharedLock::new().unwrap();
        std::mem::forget(lock.lock());
        drop(lock);
    }
    let lock = SharedLock::new().unwrap();
    drop(lock.lock());
}

fn to_lock_twice_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let lock = SharedLock::new().unwrap();
    let guard = lock.lock();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(lock.lock())));
    std::panic::set_hook(hook);
    assert!(panic_message(&*panic.unwrap_err()).contains("already"));
    drop(guard);
    drop(lock.lock());
}

/// Money goes from account to account, while the movers are killed one after the other at any
/// point. A mover that gets the lock of a dead holder undoes what that holder had begun.
fn nothing_is_lost_over_two_hundred_kills() {
    const ACCOUNTS: usize = 8;
    let balances = words([1_000; ACCOUNTS]);
    let undo = words([-1, 0, 0, 0]); // from (-1: nothing to undo), its balance, to, its balance
    let moves = words([0]);
    let lock = SharedLock::new().unwrap();

    let repair = || {
        let from = undo[0].load(SeqCst);
        if from >= 0 {
            balances[from as usize].store(undo[1].load(SeqCst), SeqCst);
            balances[undo[2].load(SeqCst) as usize].store(undo[3].load(SeqCst), SeqCst);
            undo[0].store(-1, SeqCst);
        }
    };
    let mover = |seed: usize| {
        let mut n = seed;
        loop {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let from = (n >> 33) % ACCOUNTS;
            let to = (from + 1 + (n >> 40) % (ACCOUNTS - 1)) % ACCOUNTS;
            let guard = lock.lock();
            if guard.holder_died() {
                repair();
            }
            let (had, has) = (balances[from].load(SeqCst), balances[to].load(SeqCst));
            undo[1].store(had, SeqCst);
            undo[2].store(to as i64, SeqCst);
            undo[3].store(has, SeqCst);
            undo[0].store(from as i64, SeqCst);
            balances[from].store(had - 1, SeqCst);
            balances[to].store(has + 1, SeqCst);
            undo[0].store(-1, SeqCst);
            moves[0].fetch_add(1, SeqCst);
        }
    };

    let mut movers: Vec<Process<()>> = (0..3).map(|n| process::spawn(|| mover(n))).collect();
    for n in 0..200 {
        // In each round something was moved, so no death has stopped the others.
        let before = moves[0].load(SeqCst);
        while moves[0].load(SeqCst) < before + 20 {
            std::thread::yield_now();
        }
        let victim = &mut movers[n % 3];
        victim.kill(Signal::SIGKILL).unwrap();
        *victim = process::spawn(|| mover(n));
    }
    drop(movers);
    let guard = lock.lock();
    if guard.holder_died() {
        repair();
    }
    let total: i64 = balances.iter().map(|balance| balance.load(SeqCst)).sum();
    assert_eq!(total, 1_000 * ACCOUNTS as i64);
}
fn no_memory_left_is_a_sentence() {
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    let said = process::spawn(|| {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        setrlimit(Resource::RLIMIT_AS, pages * 4096 + (32 << 20), hard).unwrap();
        // Too many for the values, or, where those still fit, for the mapping beside them.
        [u64::MAX, 2_500_000].map(|n| {
            let shared = Shared::new((0..n).map(AtomicU64::new));
            shared.map(drop).unwrap_err().to_string()
        })
    });
    for words in said.join().unwrap() {
        assert!(words.starts_with("no shared memory") && words.contains("ulimit -v"), "{words}");
    }
}

fn a_barrier_for_nobody_is_a_sentence() {
    for processes in [0, usize::MAX, 1 << 32] {
        let error = SharedBarrier::new(processes).map(drop).unwrap_err();
        assert!(error.to_string().starts_with("no barrier for"), "{error}");
    }
    SharedBarrier::new(1).unwrap().wait();
}
