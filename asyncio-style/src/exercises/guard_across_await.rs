//! `pay_in` adds an amount to a balance if it is approved, which takes a while. Two payments at
//! the same time should both be requested, and both arrive.
//! Hint: the second payment waits for the lock, on the only thread. Who releases it? Which part of
//! `pay_in` needs the lock?
//! Claim A1, slide 28: one blocking call stalls all others. The compiler knows this bug: take the
//! `expect` away and run `cargo clippy -p asyncio-style --tests`; a fixed file does not need it.
//! Try it: `cargo test -p asyncio-style guard_across_await -- --ignored`

use std::sync::Mutex;

/// `approval` waits for the approval.
#[expect(clippy::await_holding_lock, reason = "this is the bug")]
pub async fn pay_in(balance: &Mutex<i64>, amount: i64, approval: impl Future<Output = bool>) {
    let mut balance = balance.lock().expect("no holder panics");
    if approval.await {
        *balance += amount;
    }
}
