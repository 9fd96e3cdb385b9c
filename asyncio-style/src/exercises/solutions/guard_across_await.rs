//! `pay_in` adds an amount to a balance if it is approved, which takes a while. Two payments at
//! the same time should both be requested, and both arrive.
//! What was wrong: a lock of std's was held across an await. The other payment waited for it by
//! blocking the thread, and so the loop that had to resume the holder. Claim A1, slide 28: one
//! blocking call stalls all others. If a lock has to be held across an await, use the loop's own:
//! `on_tokio::shared_state::with_the_lock`.

use std::sync::Mutex;

/// `approval` waits for the approval.
pub async fn pay_in(balance: &Mutex<i64>, amount: i64, approval: impl Future<Output = bool>) {
    if approval.await {
        *balance.lock().expect("no holder panics") += amount;
    }
}
