//! pause: one side produces; the other pauses it, resumes it, stops it.
//! A `LoopingCall` can be stopped and started again.
//! Run it: cargo run -p twisted-style -- pause

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::workload::pause::{Counter, Paused};

use crate::twisted::defer::Deferred;
use crate::twisted::looping_call::LoopingCall;
use crate::twisted::reactor::Reactor;

pub fn run(reactor: &Reactor, counter: Counter) -> Paused {
    let hold = counter.hold();
    let numbers = Rc::new(RefCell::new(Vec::new()));
    let counting = produce(reactor, counter, numbers.clone());
    // Fires when the loop has stopped: the paused side says so itself.
    let paused = counting.start(BEAT);
    let seen = Paused::default();
    let control = Control { reactor: reactor.clone(), hold, counting, numbers, seen };
    let ended = paused.add_callback(|()| control.on_paused());
    reactor.run_until(ended).expect("nothing fails")
}

/// Between two numbers.
const BEAT: Duration = Duration::from_millis(1);

/// A number each beat; it stops where it is to be paused, and where it is to end.
fn produce(reactor: &Reactor, mut counter: Counter, numbers: Rc<RefCell<Vec<u32>>>) -> LoopingCall {
    LoopingCall::new(reactor, move |counting| {
        let number = counter.count();
        numbers.borrow_mut().push(number);
        if number.is_multiple_of(Counter::HALF) {
            counting.stop();
        }
    })
}

struct Control {
    reactor: Reactor,
    hold: Duration,
    counting: LoopingCall,
    numbers: Rc<RefCell<Vec<u32>>>,
    seen: Paused,
}

impl Control {
    fn on_paused(mut self) -> Deferred<Paused> {
        self.seen.before = self.numbers.borrow().to_vec();
        self.seen.at_confirm = self.made();
        let (resolver, held) = Deferred::new();
        self.reactor.call_later(self.hold, || resolver.callback(()));
        held.add_callback(|()| self.on_held())
    }

    fn on_held(mut self) -> Deferred<Paused> {
        self.seen.at_resume = self.made();
        let stopped = self.counting.start(BEAT);
        stopped.add_callback(|()| Ok(self.on_stopped()))
    }

    fn on_stopped(mut self) -> Paused {
        self.seen.after = self.numbers.borrow()[Counter::HALF as usize..].to_vec();
        self.seen.at_end = self.made();
        self.seen
    }

    fn made(&self) -> u32 {
        self.numbers.borrow().len() as u32
    }
}
