//! `add` adds an amount to a balance that other tasks add to as well, and lets them run once
//! meanwhile. Every amount should be in the balance afterwards.
//! What was wrong: the others ran between the read and the write, which wrote a stale balance.
//! Claim K2, slide 22: nothing runs until the running one yields.

use std::cell::Cell;

use crate::coroutine::scheduler::yield_now;

pub fn add(balance: &Cell<i64>, amount: i64) {
    let before = balance.get();
    balance.set(before + amount);
    yield_now();
}
