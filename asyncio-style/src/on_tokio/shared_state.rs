//! shared-state: four tasks move money between the same accounts.
//! All on one thread: only an await between a read and the write after it lets others in.
//! Run it: cargo run -p asyncio-style -- --loop tokio shared-state

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Mutex;
use tokio::task;

use common::workload::shared_state::{Bank, Totals, Transfer, think};

struct Accounts {
    balances: Vec<Cell<i64>>,
    lock: Mutex<()>,
}

pub async fn careless(bank: &Bank) -> Totals {
    run(bank, read_think_write).await
}

pub async fn careful(bank: &Bank) -> Totals {
    run(bank, all_at_once).await
}

/// If there has to be an await in between, the loop's own lock keeps the others out. A lock of
/// std's would block the thread that has to release it.
pub async fn locked(bank: &Bank) -> Totals {
    run(bank, with_the_lock).await
}

/// Writes a stale balance: the others ran during the await.
async fn read_think_write(accounts: &Accounts, transfer: Transfer) {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].get();
    let payee = accounts.balances[to].get();
    think();
    task::yield_now().await;
    accounts.balances[from].set(payer - amount);
    accounts.balances[to].set(payee + amount);
}

/// No lock: nothing else runs between two awaits.
async fn all_at_once(accounts: &Accounts, transfer: Transfer) {
    let Transfer { from, to, amount } = transfer;
    let payer = accounts.balances[from].get();
    let payee = accounts.balances[to].get();
    think();
    accounts.balances[from].set(payer - amount);
    accounts.balances[to].set(payee + amount);
    task::yield_now().await;
}

async fn with_the_lock(accounts: &Accounts, transfer: Transfer) {
    let _held = accounts.lock.lock().await;
    read_think_write(accounts, transfer).await;
}

async fn run(bank: &Bank, make: impl AsyncFn(&Accounts, Transfer) + Copy + 'static) -> Totals {
    let balances = bank.balances().into_iter().map(Cell::new).collect();
    let accounts = Rc::new(Accounts { balances, lock: Mutex::new(()) });
    let mut tasks = Vec::new();
    for transfers in bank.tasks() {
        let accounts = accounts.clone();
        tasks.push(task::spawn_local(async move {
            for transfer in transfers {
                make(&accounts, transfer).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a transfer does not panic");
    }
    accounts.balances.iter().map(Cell::get).collect()
}
