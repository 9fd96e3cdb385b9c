//! The links of a chain of Deferreds: how a chain is cancelled at its beginning, and how its
//! callbacks run in a loop.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// Where the result of a Deferred comes from: the Deferred before it in its chain, a canceller, or
/// an `async` block.
pub(super) trait Origin {
    /// The origin that this one waits for.
    fn upstream(&self) -> Option<Rc<dyn Origin>> {
        None
    }

    /// Whether it is queued to run and has not run yet.
    fn ready(&self) -> bool {
        false
    }

    /// Runs what is [`ready`](Origin::ready).
    fn run(self: Rc<Self>) {}

    /// Cancels the chain that begins here.
    fn cancel(self: Rc<Self>);

    /// Whether it has no result yet, and nothing is ready that will give one.
    fn pending(&self) -> bool {
        false
    }

    /// Whether it is a canceller that has been called.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Cancels what `at` waits for: the beginning of its chain. Callbacks that are ready run first:
/// for the caller that fired their Deferred, they have run already.
pub(super) fn cancel(at: &Rc<dyn Origin>) {
    loop {
        let mut first = at.clone();
        while let Some(upstream) = first.upstream() {
            first = upstream;
        }
        if !first.ready() {
            return first.cancel();
        }
        run_now(first);
    }
}

thread_local! {
    /// The steps that the running step has made ready; `None` while no step runs.
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

/// Runs `step`, then what it has made ready, before what was ready earlier. This is a loop:
/// nested calls would fill the stack.
pub(super) fn run_now(step: Rc<dyn Origin>) {
    let outer = MADE_READY.replace(Some(VecDeque::new()));
    let mut ready = VecDeque::from([step]);
    let mut panicked = None;
    while let Some(step) = ready.pop_front() {
        // A panic of a callback is caught where the callback is called. This panic comes from a
        // canceller or a destructor: the caller gets it after all other steps have run.
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
