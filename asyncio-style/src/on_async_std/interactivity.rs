//! interactivity: a heart beats while a count goes on.
//! All on one thread: as long as a task does not await, the loop cannot wake another.
//! Run it: cargo run -p asyncio-style -- --loop async-std interactivity

use common::workload::cpu_bound::{Count, Counted};
use common::workload::interactivity::{Beats, Heart};

use super::task::{self, sleep};

/// Blocks the loop: an `async` around a call does not make the call await.
pub async fn careless(count: Count, heart: Heart) -> Beats {
    let heart = task::spawn_local(beat(heart));
    let count = task::spawn_local(async { primes(count) });
    let counted = count.await;
    let heart = heart.await;
    heart.finish(counted)
}

/// The same call in a thread of the loop's pool.
pub async fn careful(count: Count, heart: Heart) -> Beats {
    let heart = task::spawn_local(beat(heart));
    let count = task::spawn_blocking(|| primes(count));
    let counted = count.await;
    let heart = heart.await;
    heart.finish(counted)
}

async fn beat(mut heart: Heart) -> Heart {
    while heart.beat() {
        sleep(heart.pause()).await;
    }
    heart
}

fn primes(mut count: Count) -> Counted {
    while count.slice() {}
    count.finish()
}
