//! shared-state: four tasks move money between the same accounts.
//! One thread per task: the OS may take the core away between a read and the write after it.
//! Run it: cargo run -p threads -- shared-state

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use common::workload::shared_state::{Bank, Totals, Transfer, think};

/// In Rust a lock usually owns what it guards, so that it cannot be forgotten. Here it stands
/// beside the balances, as in Python. They are atomics: threads cannot share a plain `Cell`.
struct Accounts {
    balances: Vec<AtomicI64>,
    lock: Mutex<()>,
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
    let _held = accounts.lock.lock().expect("no holder panics");
    read_think_write(accounts, transfer);
}

fn run(bank: &Bank, make: fn(&Accounts, Transfer)) -> Totals {
    let balances = bank.balances().into_iter().map(AtomicI64::new).collect();
    let accounts = Arc::new(Accounts { balances, lock: Mutex::new(()) });
    let start = Arc::new(Barrier::new(bank.tasks().len()));
    let mut tasks = Vec::new();
    for transfers in bank.tasks() {
        let accounts = accounts.clone();
        let start = start.clone();
        tasks.push(thread::spawn(move || {
            start.wait();
            for transfer in transfers {
                make(&accounts, transfer);
            }
        }));
    }
    for task in tasks {
        task.join().expect("a transfer does not panic");
    }
    accounts.balances.iter().map(|balance| balance.load(Relaxed)).collect()
}
