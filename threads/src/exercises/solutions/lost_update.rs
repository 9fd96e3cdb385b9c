//! `add` adds an amount to a balance that other threads add to at the same time. Every amount
//! should be in the balance afterwards.
//! What was wrong: a read and a later write are two steps, and another thread wrote between
//! them; each of the two was atomic, both together were not.
//! Claim T11, slide 15: threads that share state lose updates.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// `think` takes a while; other threads run meanwhile.
pub fn add(balance: &AtomicI64, amount: i64, think: &dyn Fn()) {
    think();
    balance.fetch_add(amount, Relaxed);
}
