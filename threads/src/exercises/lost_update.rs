//! `add` adds an amount to a balance that other threads add to at the same time. Every amount
//! should be in the balance afterwards.
//! Hint: what is `before` worth after `think`? Look for the method of `AtomicI64` that reads
//! and writes in one step.
//! Claim T11, slide 15: threads that share state lose updates.
//! Try it: `cargo test -p threads lost_update -- --ignored`

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// `think` takes a while; other threads run meanwhile.
pub fn add(balance: &AtomicI64, amount: i64, think: &dyn Fn()) {
    let before = balance.load(Relaxed);
    think();
    balance.store(before + amount, Relaxed);
}
