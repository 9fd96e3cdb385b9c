//! `ask` asks a question and waits for the answer. The other greenlets should run meanwhile: one
//! of them answers.
//! Hint: not every wait is patched. Look for the one of this file in the table "Not patched" of
//! the README; it also says what to take instead.
//! Claim G3, slide 30: patched, unmodified blocking code cooperates. In gevent a `queue.Queue` that
//! was imported before `patch_all()` stops everybody in the same way.
//! Try it: `cargo test -p gevent-style round_the_patch -- --ignored`

use std::sync::{Arc, mpsc};

/// The one that knows the answer calls this with it.
pub type Answer = Arc<dyn Fn(u32) + Send + Sync>;

pub fn ask(question: &dyn Fn(Answer)) -> u32 {
    let (sender, answers) = mpsc::channel();
    question(Arc::new(move |answer| {
        let _ = sender.send(answer); // the first answer is enough
    }));
    answers.recv().expect("somebody answers")
}
