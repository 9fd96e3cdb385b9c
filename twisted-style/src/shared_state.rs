//! shared-state: four tasks move money between the same accounts.
//! All on one thread: other callbacks run only between two callbacks, here a read and a write.
//! Run it: cargo run -p twisted-style -- shared-state

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use common::workload::shared_state::{Bank, Totals, Transfer, Transfers, think};

use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::gather::gather_results;
use crate::twisted::locks::DeferredLock;
use crate::twisted::reactor::Reactor;

struct Accounts {
    reactor: Reactor,
    balances: Vec<Cell<i64>>,
    lock: DeferredLock,
}

pub fn careless(reactor: &Reactor, bank: &Bank) -> Totals {
    run(reactor, bank, read_think_write)
}

pub fn careful(reactor: &Reactor, bank: &Bank) -> Totals {
    run(reactor, bank, all_at_once)
}

/// If the read and the write are two callbacks, a lock keeps the others out. A Deferred waits for
/// it: a lock of std's would block the only thread, which has to release it.
pub fn locked(reactor: &Reactor, bank: &Bank) -> Totals {
    run(reactor, bank, with_the_lock)
}

/// Writes a stale balance: other callbacks ran before the one that writes.
fn read_think_write(accounts: Rc<Accounts>, transfer: Transfer) -> Deferred<()> {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].get();
    let payee = accounts.balances[to].get();
    think();
    let turn = accounts.reactor.defer_later(Duration::ZERO);
    turn.add_callback(move |()| {
        accounts.balances[from].set(payer - amount);
        accounts.balances[to].set(payee + amount);
    })
}

/// No lock: nothing else runs until this returns.
fn all_at_once(accounts: Rc<Accounts>, transfer: Transfer) -> Deferred<()> {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].get();
    let payee = accounts.balances[to].get();
    think();
    accounts.balances[from].set(payer - amount);
    accounts.balances[to].set(payee + amount);
    accounts.reactor.defer_later(Duration::ZERO)
}

fn with_the_lock(accounts: Rc<Accounts>, transfer: Transfer) -> Deferred<()> {
    let lock = accounts.lock.clone();
    lock.run(move || read_think_write(accounts, transfer))
}

/// What makes one transfer.
type Make = fn(Rc<Accounts>, Transfer) -> Deferred<()>;

fn run(reactor: &Reactor, bank: &Bank, make: Make) -> Totals {
    let balances = bank.balances().into_iter().map(Cell::new).collect();
    let lock = DeferredLock::new();
    let accounts = Rc::new(Accounts { reactor: reactor.clone(), balances, lock });
    let mut tasks = Vec::new();
    for transfers in bank.tasks() {
        let (done, task) = Deferred::new();
        transfer_all(accounts.clone(), transfers, make, done);
        tasks.push(task);
    }
    let ended = reactor.run_until(gather_results(tasks));
    ended.expect("a transfer does not panic");
    accounts.balances.iter().map(Cell::get).collect()
}

fn transfer_all(accounts: Rc<Accounts>, mut transfers: Transfers, make: Make, done: Resolver<()>) {
    let Some(transfer) = transfers.next() else { return done.callback(()) };
    let made = make(accounts.clone(), transfer);
    // `done` fires at the end: one chain for all transfers would grow with each one.
    drop(made.add_callback(move |()| transfer_all(accounts, transfers, make, done)));
}
