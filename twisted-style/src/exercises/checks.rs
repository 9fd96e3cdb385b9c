//! One check for each exercise, for the broken file and for its solution.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::exercise::{LIMIT, Sentence, should, within};

use super::{computing_callback, lock_not_released, one_data_one_line, solutions};
use crate::twisted;
use crate::twisted::clock::Clock;
use crate::twisted::defer::{Deferred, fail, succeed};
use crate::twisted::failure::Failure;
use crate::twisted::io_pump::IoPump;
use crate::twisted::locks::DeferredLock;
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::Reactor;
use crate::twisted::transport::Transport;

#[test]
#[ignore = "fix twisted-style/src/exercises/one_data_one_line.rs"]
fn one_data_one_line() -> Result<(), Sentence> {
    check_one_data_one_line(one_data_one_line::Numbering::default)
}

#[test]
fn solution_of_one_data_one_line() -> Result<(), Sentence> {
    check_one_data_one_line(solutions::one_data_one_line::Numbering::default)
}

#[test]
#[ignore = "fix twisted-style/src/exercises/lock_not_released.rs"]
fn lock_not_released() -> Result<(), Sentence> {
    check_lock_not_released(lock_not_released::locked)
}

#[test]
fn solution_of_lock_not_released() -> Result<(), Sentence> {
    check_lock_not_released(solutions::lock_not_released::locked)
}

#[test]
#[ignore = "fix twisted-style/src/exercises/computing_callback.rs"]
fn computing_callback() -> Result<(), Sentence> {
    check_computing_callback(computing_callback::count)
}

#[test]
fn solution_of_computing_callback() -> Result<(), Sentence> {
    check_computing_callback(solutions::computing_callback::count)
}

fn check_one_data_one_line<P: Protocol>(numbering: fn() -> P) -> Result<(), Sentence> {
    let right = "1 ann\n2 ben\n3 zo\u{eb}\n";
    // The maximum number of bytes that arrive at once.
    for at_once in [13, 2, 1, 3, 4, 5] {
        let wait = "the connection should become idle";
        let answer = within(LIMIT, wait, move || {
            let answer = Rc::default();
            let client = Client { sends: "ann\nben\nzo\u{eb}\n", answer: Rc::clone(&answer) };
            IoPump::connect(client, numbering(), &Clock::new(), at_once).flush();
            answer.take()
        })?;
        let answer = String::from_utf8_lossy(&answer);
        let sentence = format!(
            "three lines come, {at_once} bytes at once: the answer should be {right:?}, \
             not {answer:?}"
        );
        should(answer == right, sentence)?;
    }
    Ok(())
}

/// Sends bytes, and keeps what comes back.
struct Client {
    sends: &'static str,
    answer: Rc<RefCell<Vec<u8>>>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.sends.as_bytes());
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.answer.borrow_mut().extend_from_slice(data);
    }
}

type Work = Box<dyn FnOnce() -> Deferred<u32>>;

fn check_lock_not_released(
    locked: fn(&DeferredLock, Work) -> Deferred<u32>,
) -> Result<(), Sentence> {
    let end = "the callbacks should end";
    within(LIMIT, end, move || after_an_end(locked).and_then(|()| after_a_cancel(locked)))?
}

/// The result of a Deferred, if it has fired.
type Seen = Rc<RefCell<Option<Result<u32, Failure>>>>;

fn watch(deferred: Deferred<u32>) -> Seen {
    let seen = Seen::default();
    let sees = seen.clone();
    drop(deferred.add_both(move |result| *sees.borrow_mut() = Some(result)));
    seen
}

/// The next waiter gets the lock at the end of the work and not before, for any kind of end.
fn after_an_end(locked: fn(&DeferredLock, Work) -> Deferred<u32>) -> Result<(), Sentence> {
    for succeeds in [true, false] {
        let lock = DeferredLock::new();
        let (done, work) = Deferred::new();
        let first = watch(locked(&lock, Box::new(move || work)));
        let second = watch(locked(&lock, Box::new(|| succeed(2))));
        should(second.borrow().is_none(), "the second should wait while the first works")?;
        if succeeds {
            done.callback(1);
        } else {
            done.errback(io::Error::other("no luck"));
        }
        let how = if succeeds { "succeeded" } else { "failed" };
        let first = first.take().map(Result::ok);
        let right = if succeeds { Some(1) } else { None };
        should(first == Some(right), "the result of the work should be passed on")?;
        let sentence = format!(
            "when the first one has {how}, the second should get the lock, not wait forever"
        );
        should(matches!(second.take(), Some(Ok(2))), sentence)?;
    }
    Ok(())
}

/// A waiter that is cancelled in the queue does not release the lock of its holder.
fn after_a_cancel(locked: fn(&DeferredLock, Work) -> Deferred<u32>) -> Result<(), Sentence> {
    let lock = DeferredLock::new();
    let (done, work) = Deferred::new();
    let first = watch(locked(&lock, Box::new(move || work)));
    let second = locked(&lock, Box::new(|| succeed(2)));
    second.cancel();
    let second = watch(second);
    let third = watch(locked(&lock, Box::new(|| succeed(3))));
    should(matches!(second.take(), Some(Err(_))), "cancelling the second should end its wait")?;
    let sentence = "the second was cancelled in the queue and had nothing to release: \
                    the third should wait while the first works";
    should(third.borrow().is_none(), sentence)?;
    done.callback(1);
    should(matches!(first.take(), Some(Ok(1))), "the first should end with its value")?;
    should(matches!(third.take(), Some(Ok(3))), "the third should get the lock after the first")
}

type Compute = Box<dyn FnOnce(String) -> usize + Send>;

fn check_computing_callback(
    count: fn(&Reactor, Deferred<String>, Compute) -> Deferred<usize>,
) -> Result<(), Sentence> {
    let wait = "the reactor should go on while a page is counted";
    let (counted, beat) = within(LIMIT, wait, move || {
        twisted::run(|reactor| {
            let (told, was_told) = mpsc::channel();
            let reactors_thread = thread::current().id();
            let from_threads = reactor.for_threads();
            let compute = move |page: String| {
                // On the reactor's own thread a wait for the beat would never end.
                if thread::current().id() != reactors_thread {
                    let (heart, beat) = mpsc::channel();
                    from_threads.call_from_thread(move |_| {
                        let _ = heart.send(());
                    });
                    let _ = told.send(beat.recv().is_ok());
                }
                page.len()
            };
            let page = reactor.defer_later(Duration::ZERO);
            let page = page.add_callback(|()| Ok("page".to_string()));
            let counted = reactor.run_until(count(reactor, page, Box::new(compute)));
            (counted.ok(), was_told.try_recv() == Ok(true))
        })
    })?;
    should(counted == Some(4), format!("\"page\" should have 4 bytes, not {counted:?}"))?;
    should(beat, "the heart should beat while a page is counted: the reactor was blocked")?;
    let failed = within(LIMIT, "a page that failed should end the wait", move || {
        twisted::run(|reactor| {
            let page = fail(io::Error::other("no page"));
            reactor.run_until(count(reactor, page, Box::new(|page| page.len()))).is_err()
        })
    })?;
    should(failed, "the error of a page that failed should be passed on")
}
