//! `ask` asks a question and waits for the answer. The other greenlets should run meanwhile: one
//! of them answers.
//! Hint: not every wait is patched. Look for the one of this file in the table "Not patched" of
//! the README; it also says what to take instead.
//! Claim G3, slide 30: patched, unmodified blocking code cooperates. In gevent a `queue.Queue` that
//! was imported before `patch_all()` stops all greenlets in the same way.
//! Try it: `cargo test -p gevent-style round_the_patch -- --ignored`

use std::sync::{Arc, mpsc};

/// To be called with the answer by the greenlet that knows it.
pub type Answer = Arc<dyn Fn(u32) + Send + Sync>;

pub fn ask(question: &dyn Fn(Answer)) -> u32 {
    let (sender, answers) = mpsc::channel();
    question(Arc::new(move |answer| {
        let _ = sender.send(answer); // the first answer is enough
    }));
    answers.recv().expect("a greenlet answers")
}
