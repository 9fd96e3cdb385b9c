//! `transfer` moves money from one account to another, each under a lock of its own. Two
//! transfers in opposite directions should both end.
//! Hint: which thread waits for which when each holds its first lock? Any order of the locks is
//! fine, if all transfers keep to it.
//! Slide 15: shared state can cause difficulties; `cargo run -p threads -- deadlock` shows this.
//! Try it: `cargo test -p threads two_locks -- --ignored`

use std::sync::Mutex;

/// `from` and `to` are different accounts. `think` takes a while, with one lock held.
pub fn transfer(accounts: &[Mutex<i64>], from: usize, to: usize, amount: i64, think: &dyn Fn()) {
    let mut payer = accounts[from].lock().expect("no holder panics");
    think();
    let mut payee = accounts[to].lock().expect("no holder panics");
    *payer -= amount;
    *payee += amount;
}
