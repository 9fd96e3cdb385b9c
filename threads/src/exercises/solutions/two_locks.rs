//! `transfer` moves money from one account to another, each under a lock of its own. Two
//! transfers in opposite directions should both end.
//! What was wrong: each took the payer's lock first, and waited for the one the other held.
//! Slide 15: shared state can cause difficulties; `cargo run -p threads -- deadlock` shows this.

use std::sync::Mutex;

/// `from` and `to` are different accounts. `think` takes a while, with one lock held.
pub fn transfer(accounts: &[Mutex<i64>], from: usize, to: usize, amount: i64, think: &dyn Fn()) {
    let mut lower = accounts[from.min(to)].lock().expect("no holder panics");
    think();
    let mut upper = accounts[from.max(to)].lock().expect("no holder panics");
    let (payer, payee) =
        if from < to { (&mut lower, &mut upper) } else { (&mut upper, &mut lower) };
    **payer -= amount;
    **payee += amount;
}
