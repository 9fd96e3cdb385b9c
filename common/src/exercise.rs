//! What the checks of all exercises print, and how they end if the code they check does not end.
//!
//! An exercise is a small broken file in `PROGRAM/src/exercises/`. Until the file is fixed, its
//! test fails with one sentence that says what should be true.

use std::any::Any;
use std::fmt::{Debug, Formatter, Result as Formatted};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// How long the code of an exercise may run: all of them have milliseconds of work.
pub const LIMIT: Duration = Duration::from_secs(2);

/// What should be, and what was found. A test that returns it as its error prints it, and
/// nothing else.
pub struct Sentence(String);

impl Debug for Sentence {
    fn fmt(&self, formatter: &mut Formatter) -> Formatted {
        formatter.write_str(&self.0)
    }
}

impl From<&str> for Sentence {
    fn from(sentence: &str) -> Sentence {
        Sentence(sentence.into())
    }
}

impl From<String> for Sentence {
    fn from(sentence: String) -> Sentence {
        Sentence(sentence)
    }
}

/// An error with this sentence, unless `holds`.
pub fn should(holds: bool, sentence: impl Into<Sentence>) -> Result<(), Sentence> {
    if holds { Ok(()) } else { Err(sentence.into()) }
}

/// Runs `f` in a thread, for at most `limit`. Returns an error with the sentence `what` if it has
/// not returned by then, or with the message of its panic. A thread that does not end is left
/// behind; it ends with the test program. A value that is not `Send` is built inside `f`.
pub fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Sentence> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let returned = catch_unwind(AssertUnwindSafe(f));
        let _ = sender.send(returned); // an error: the limit is over
    });
    match receiver.recv_timeout(limit) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => Err(format!("it should not panic: {}", words(&*panic)).into()),
        Err(RecvTimeoutError::Timeout) => Err(what.into()),
        Err(RecvTimeoutError::Disconnected) => unreachable!("the thread sends, even after a panic"),
    }
}

/// The message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let string = panic.downcast_ref::<String>().map(String::as_str);
    string.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn said<T>(result: Result<T, Sentence>) -> String {
        format!("{:?}", result.err().expect("it is an error"))
    }

    #[test]
    fn a_sentence_is_printed_as_it_is() {
        assert_eq!(said(should(false, "a \"b\" should be\u{e9}")), "a \"b\" should be\u{e9}");
        assert!(should(true, String::from("nothing")).is_ok());
    }

    #[test]
    fn a_returned_value_is_passed_on() {
        assert!(matches!(within(Duration::MAX, "it should return", || 7), Ok(7)));
    }

    #[test]
    fn a_function_that_hangs_ends_with_the_sentence() {
        let (_kept, never) = channel::<()>();
        let result = within(Duration::ZERO, "it should return", move || never.recv());
        assert_eq!(said(result), "it should return");
    }

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let result = within::<()>(Duration::MAX, "it should return", || panic!("no {}", 7));
        assert_eq!(said(result), "it should not panic: no 7");
        let result = within::<()>(Duration::MAX, "it should return", || panic!("none"));
        assert_eq!(said(result), "it should not panic: none");
    }
}
