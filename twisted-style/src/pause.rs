//! pause: one side produces; the other pauses it, resumes it, stops it.
//! A `LoopingCall` can be stopped and started again.
//! Run it: cargo run -p twisted-style -- pause

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::workload::pause::{Counter, Paused};

use crate::twisted::looping_call::LoopingCall;
use crate::twisted::reactor::Reactor;

pub fn run(reactor: &Reactor, counter: Counter) -> Paused {
    let hold = counter.hold();
    let numbers = Rc::new(RefCell::new(Vec::new()));
    let counting = produce(reactor, counter, numbers.clone());
    let clock = reactor.clone();
    // `start` fires when the loop has stopped: the producer itself confirms the pause.
    let seen = counting.start(BEAT).add_callback(move |()| {
        let before = numbers.borrow().clone();
        let held = clock.defer_later(hold);
        held.add_callback(move |()| {
            let at_resume = numbers.borrow().len() as u32;
            let stopped = counting.start(BEAT);
            stopped.add_callback(move |()| {
                let (at_confirm, all) = (before.len() as u32, numbers.take());
                let (after, at_end) = (all[before.len()..].to_vec(), all.len() as u32);
                Ok(Paused { before, at_confirm, at_resume, after, at_end })
            })
        })
    });
    reactor.run_until(seen).expect("nothing fails")
}

/// The time between two numbers.
const BEAT: Duration = Duration::from_millis(1);

/// Makes one number per beat. The loop stops itself for the pause and at the end.
fn produce(reactor: &Reactor, mut counter: Counter, numbers: Rc<RefCell<Vec<u32>>>) -> LoopingCall {
    LoopingCall::new(reactor, move |counting| {
        let number = counter.count();
        numbers.borrow_mut().push(number);
        if number.is_multiple_of(Counter::HALF) {
            counting.stop();
        }
    })
}
