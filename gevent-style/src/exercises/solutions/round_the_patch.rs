//! `ask` asks a question and waits for the answer. The other greenlets should run meanwhile: one
//! of them answers.
//! What was wrong: `recv` of std's channel parks the OS thread by a call that is not patched, and
//! so all greenlets. The queue of gevent-style parks only the greenlet.
//! Claim G3, slide 30: patched, unmodified blocking code cooperates. In gevent a `queue.Queue` that
//! was imported before `patch_all()` stops all greenlets in the same way.

use std::sync::Arc;

use crate::gevent::queue::Queue;

/// To be called with the answer by the greenlet that knows it.
pub type Answer = Arc<dyn Fn(u32) + Send + Sync>;

pub fn ask(question: &dyn Fn(Answer)) -> u32 {
    let answers = Queue::new();
    let theirs = answers.clone();
    question(Arc::new(move |answer| theirs.put(answer)));
    answers.get()
}
