//! shared-state: four tasks move money between the same accounts.
//! All on one thread: only a yield between a read and the write after it lets others in.
//! Run it: cargo run -p coroutines -- shared-state

use std::cell::Cell;
use std::rc::Rc;

use common::workload::shared_state::{Bank, Totals, Transfer, think};

use crate::coroutine::scheduler;
use crate::coroutine::sync::Lock;

struct Accounts {
    balances: Vec<Cell<i64>>,
    lock: Lock,
}

pub fn careless(bank: &Bank) -> Totals {
    run(bank, read_think_write)
}

pub fn careful(bank: &Bank) -> Totals {
    run(bank, all_at_once)
}

/// If there has to be a yield in between, the scheduler's own lock keeps the others out. A lock
/// of std's would block the thread that has to release it.
pub fn locked(bank: &Bank) -> Totals {
    run(bank, with_the_lock)
}

/// Writes a stale balance: the others ran during the yield.
fn read_think_write(accounts: &Accounts, transfer: Transfer) {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].get();
    let payee = accounts.balances[to].get();
    think();
    scheduler::yield_now();
    accounts.balances[from].set(payer - amount);
    accounts.balances[to].set(payee + amount);
}

/// No lock: nothing else runs between two yields.
fn all_at_once(accounts: &Accounts, transfer: Transfer) {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].get();
    let payee = accounts.balances[to].get();
    think();
    accounts.balances[from].set(payer - amount);
    accounts.balances[to].set(payee + amount);
    scheduler::yield_now();
}

fn with_the_lock(accounts: &Accounts, transfer: Transfer) {
    let _held = accounts.lock.acquire().expect("its holder releases it");
    read_think_write(accounts, transfer);
}

fn run(bank: &Bank, make: fn(&Accounts, Transfer)) -> Totals {
    let balances = bank.balances().into_iter().map(Cell::new).collect();
    let accounts = Rc::new(Accounts { balances, lock: Lock::new() });
    let mut tasks = Vec::new();
    for transfers in bank.tasks() {
        let accounts = accounts.clone();
        tasks.push(scheduler::spawn(move || {
            for transfer in transfers {
                make(&accounts, transfer);
            }
        }));
    }
    for task in tasks {
        task.join().expect("a transfer does not panic");
    }
    accounts.balances.iter().map(Cell::get).collect()
}
