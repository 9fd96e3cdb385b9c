//! shared-state: four tasks move money between the same accounts.
//! All on one thread: only a wait between a read and the write after it lets others in.
//! Run it: cargo run -p gevent-style -- shared-state

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use common::workload::shared_state::{Bank, Totals, Transfer, think};

use crate::gevent::greenlet;

struct Accounts {
    balances: Vec<AtomicI64>,
    lock: Mutex<()>,
}

pub fn careless(bank: &Bank) -> Totals {
    run(bank, read_think_write)
}

pub fn careful(bank: &Bank) -> Totals {
    run(bank, all_at_once)
}

/// If there has to be a wait in between, a lock keeps the others out: std's own, patched. It
/// parks the greenlet. Unpatched, it would block the thread that has to release it.
pub fn locked(bank: &Bank) -> Totals {
    run(bank, with_the_lock)
}

/// Writes a stale balance: the others ran during the wait. This wait is the shortest one:
/// patched, it is `gevent.sleep(0)`.
fn read_think_write(accounts: &Accounts, transfer: Transfer) {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].load(Relaxed);
    let payee = accounts.balances[to].load(Relaxed);
    think();
    thread::yield_now();
    accounts.balances[from].store(payer - amount, Relaxed);
    accounts.balances[to].store(payee + amount, Relaxed);
}

/// No lock: nothing else runs between two waits.
fn all_at_once(accounts: &Accounts, transfer: Transfer) {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].load(Relaxed);
    let payee = accounts.balances[to].load(Relaxed);
    think();
    accounts.balances[from].store(payer - amount, Relaxed);
    accounts.balances[to].store(payee + amount, Relaxed);
    thread::yield_now();
}

fn with_the_lock(accounts: &Accounts, transfer: Transfer) {
    let _held = accounts.lock.lock().expect("no holder panics");
    read_think_write(accounts, transfer);
}

fn run(bank: &Bank, make: fn(&Accounts, Transfer)) -> Totals {
    let balances = bank.balances().into_iter().map(AtomicI64::new).collect();
    let accounts = Arc::new(Accounts { balances, lock: Mutex::new(()) });
    let mut tasks = Vec::new();
    for transfers in bank.tasks() {
        let accounts = accounts.clone();
        tasks.push(greenlet::spawn(move || {
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
