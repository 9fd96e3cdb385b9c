//! `add` adds an amount to a balance that other tasks add to as well, and lets them run once
//! meanwhile. Every amount should be in the balance afterwards.
//! Hint: no lock is needed. Nothing runs between two yields, so where may the yield stand?
//! Claim K2, slide 22: nothing runs until the running one yields.
//! Try it: `cargo test -p coroutines yield_between -- --ignored`

use std::cell::Cell;

use crate::coroutine::scheduler::yield_now;

pub fn add(balance: &Cell<i64>, amount: i64) {
    let before = balance.get();
    yield_now();
    balance.set(before + amount);
}
