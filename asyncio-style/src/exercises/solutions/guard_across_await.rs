//! `pay_in` adds an amount to a balance if it is approved, which takes a while. Two payments at
//! the same time should both be asked for, and both arrive.
//! What was wrong: a lock of std's was held across an await. The other payment waited for it by
//! blocking the thread, and with it the loop that was to resume the holder.
//! Claim A1, slide 28: one blocking call stalls everybody. Where a lock has to be held across an
//! await, it is the loop's own: `on_tokio::shared_state::with_the_lock`.

use std::sync::Mutex;

/// `approval` waits for somebody's word.
pub async fn pay_in(balance: &Mutex<i64>, amount: i64, approval: impl Future<Output = bool>) {
    if approval.await {
        *balance.lock().expect("no holder panics") += amount;
    }
}
