//! What a chain of Deferreds is made of, from where a result comes to where it goes: cancelled at
//! its beginning, and run in a loop.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// What a Deferred's result comes from: the Deferred before it in its chain, a canceller, or an
/// `async` block.
pub(super) trait Origin {
    /// What this one waits for in turn.
    fn upstream(&self) -> Option<Rc<dyn Origin>> {
        None
    }

    /// Whether it has been told to run and has not yet.
    fn ready(&self) -> bool {
        false
    }

    /// Runs what [`ready`](Origin::ready) tells of.
    fn run(self: Rc<Self>) {}

    /// Cancels what begins here.
    fn call_off(self: Rc<Self>);

    /// Whether it has no result and none to come from what is ready.
    fn pending(&self) -> bool {
        false
    }

    /// Whether it is a canceller that has been called.
    fn called_off(&self) -> bool {
        false
    }
}

/// Cancels what `at` waits for at the far end of its chain. What is there and ready to run comes
/// first: to whoever fired it, it has run.
pub(super) fn cancel(at: &Rc<dyn Origin>) {
    loop {
        let mut first = at.clone();
        while let Some(upstream) = first.upstream() {
            first = upstream;
        }
        if !first.ready() {
            return first.call_off();
        }
        run_now(first);
    }
}

thread_local! {
    /// What the step that runs now has made ready; `None` while no step runs.
    static MADE_READY: RefCell<Option<VecDeque<Rc<dyn Origin>>>> = const { RefCell::new(None) };
}

/// Runs `step` now or, inside another step, as soon as that one has returned.
pub(super) fn run_soon(step: Rc<dyn Origin>) {
    let step = MADE_READY.with_borrow_mut(|made_ready| match made_ready {
        Some(made_ready) => {
            made_ready.push_back(step);
            None
        }
        None => Some(step),
    });
    if let Some(step) = step {
        run_now(step);
    }
}

/// Runs `step`, then what it has made ready, each before what was ready already: a loop where
/// calls inside calls would fill the stack.
pub(super) fn run_now(step: Rc<dyn Origin>) {
    let outer = MADE_READY.replace(Some(VecDeque::new()));
    let mut ready = VecDeque::from([step]);
    let mut panicked = None;
    while let Some(step) = ready.pop_front() {
        // Callbacks' panics are caught where they are called. This one is of a canceller or a
        // destructor: it goes to whoever fired or cancelled, when all the others have run.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| step.run())) {
            panicked.get_or_insert(panic);
        }
        let made_ready =
            MADE_READY.with_borrow_mut(|made_ready| made_ready.replace(VecDeque::new()));
        for step in made_ready.into_iter().flatten().rev() {
            ready.push_front(step);
        }
    }
    MADE_READY.replace(outer);
    if let Some(panic) = panicked {
        resume_unwind(panic);
    }
}
