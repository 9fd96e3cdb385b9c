//! shared-state: four tasks move money between the same accounts.
//! One process per task: nothing is shared by default, and what is shared loses updates.
//! Run it: cargo run -p processes -- shared-state

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use nix::sys::signal::Signal;
use nix::unistd::pause;

use common::workload::shared_state::{Bank, Totals, Transfer, think};

use crate::multiprocessing::process;
use crate::multiprocessing::shared_memory::{Shared, SharedBarrier, SharedLock};

struct Accounts {
    balances: Shared<AtomicI64>,
    lock: SharedLock,
}

pub fn careless(bank: &Bank) -> Totals {
    run(bank, read_think_write)
}

pub fn careful(bank: &Bank) -> Totals {
    run(bank, with_the_lock)
}

/// Writes a stale balance if the OS took the core away after the read.
fn read_think_write(accounts: &Accounts, transfer: Transfer) {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].load(Relaxed);
    let payee = accounts.balances[to].load(Relaxed);
    think();
    accounts.balances[from].store(payer - amount, Relaxed);
    accounts.balances[to].store(payee + amount, Relaxed);
}

fn with_the_lock(accounts: &Accounts, transfer: Transfer) {
    let _held = accounts.lock.lock();
    read_think_write(accounts, transfer);
}

fn run(bank: &Bank, make: fn(&Accounts, Transfer)) -> Totals {
    let accounts = open(bank);
    transfer_all(bank, &accounts, make)
}

fn open(bank: &Bank) -> Accounts {
    let balances = bank.balances().into_iter().map(AtomicI64::new);
    let balances = Shared::new(balances).expect("there is a page of memory left");
    let lock = SharedLock::new().expect("there is a page of memory left");
    Accounts { balances, lock }
}

fn transfer_all(bank: &Bank, accounts: &Accounts, make: impl Fn(&Accounts, Transfer)) -> Totals {
    let start = SharedBarrier::new(bank.tasks().len());
    let start = start.expect("there is a page of memory left");
    let mut tasks = Vec::new();
    for transfers in bank.tasks() {
        tasks.push(process::spawn(|| {
            start.wait();
            for transfer in transfers {
                make(accounts, transfer);
            }
        }));
    }
    for task in tasks {
        task.join().expect("a transfer does not panic");
    }
    accounts.balances.iter().map(|balance| balance.load(Relaxed)).collect()
}

/// Without shared memory each task writes to its own copy, and the copy is gone when
/// the task ends. A plain `Cell` is enough for that.
pub fn unshared(bank: &Bank) -> Totals {
    let balances: Vec<Cell<i64>> = bank.balances().into_iter().map(Cell::new).collect();
    let mut tasks = Vec::new();
    for transfers in bank.tasks() {
        let balances = &balances;
        tasks.push(process::spawn(move || {
            for Transfer { from, to, amount } in transfers {
                think();
                balances[from].set(balances[from].get() - amount);
                balances[to].set(balances[to].get() + amount);
            }
            balances.iter().map(Cell::get).collect::<Vec<i64>>()
        }));
    }
    for task in tasks {
        let copy = task.join().expect("a transfer does not panic");
        assert_ne!(copy, bank.balances(), "the task has changed its copy");
    }
    balances.iter().map(Cell::get).collect()
}

/// The holder of the lock is killed between its two writes. The next holder is told so, and
/// restores the balance that the dead holder had noted.
pub fn orphaned(bank: &Bank) -> Totals {
    let accounts = open(bank);
    let note = Shared::new([AtomicI64::new(0)]).expect("there is a page of memory left");
    let halfway = SharedBarrier::new(2).expect("there is a page of memory left");
    let holder = process::spawn(|| {
        let _held = accounts.lock.lock();
        note[0].store(accounts.balances[0].load(Relaxed), Relaxed);
        accounts.balances[0].fetch_sub(5000, Relaxed);
        halfway.wait();
        pause();
    });
    halfway.wait();
    holder.kill(Signal::SIGKILL).expect("it is there until it is joined");
    holder.join().expect_err("it was killed");
    transfer_all(bank, &accounts, |accounts, transfer| {
        let held = accounts.lock.lock();
        if held.holder_died() {
            accounts.balances[0].store(note[0].load(Relaxed), Relaxed);
        }
        read_think_write(accounts, transfer);
    })
}
