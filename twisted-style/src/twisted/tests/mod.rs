//! What Twisted documents: one test per rule, with a name that says the rule.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::defer::Deferred;
use super::failure::{Failure, Observing, observe_unhandled};

mod clock;
mod connection;
mod cooperator;
mod defer;
mod gather;
mod inline;
mod inside;
mod line_receiver;
mod locks;
mod looping_call;
mod producers;
mod reactor;
mod stack;
mod stream;

const SECOND: Duration = Duration::from_secs(1);

/// What a test notes, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, words: impl ToString) {
        self.0.borrow_mut().push(words.to_string());
    }

    fn taken(&self) -> Vec<String> {
        self.0.take()
    }
}

fn error(words: &str) -> Failure {
    io::Error::other(words.to_string()).into()
}

/// The result, if there is one (`trial`'s `successResultOf`, `failureResultOf`), or "no result".
fn result_of<T: ToString>(deferred: Deferred<T>) -> String {
    let result = Rc::new(RefCell::new("no result".to_string()));
    let seen = result.clone();
    let rest = deferred.add_both(move |result| {
        *seen.borrow_mut() = match result {
            Ok(value) => value.to_string(),
            Err(failure) => format!("failed: {failure}"),
        };
    });
    drop(rest);
    result.take()
}

/// The unhandled errors of this thread from now on.
fn unhandled() -> (Log, Observing) {
    let log = Log::default();
    let observed = log.clone();
    let observing = observe_unhandled(move |failure| observed.note(failure));
    (log, observing)
}

/// Notes the result of a Deferred when it comes.
fn watch(deferred: Deferred<()>, log: &Log) {
    let log = log.clone();
    drop(deferred.add_both(move |result| match result {
        Ok(()) => log.note("done"),
        Err(failure) => log.note(format!("failed: {failure}")),
    }));
}
