//! The workloads on async-std, which was discontinued in 2025 in favor of smol (RUSTSEC-2025-0052).
//! It is kept here to compare three loops.

pub mod cpu_bound;
pub mod deadline;
pub mod early_results;
pub mod interactivity;
pub mod io_bound;
pub mod ordering;
pub mod pause;
pub mod resources;
pub mod server;
pub mod shared_state;

/// Runs the loop until `main` is done, as `asyncio.run(main)` does: one thread, this one. Tasks
/// that are pending then are cancelled.
pub fn run<T>(main: impl Future<Output = T>) -> T {
    let before = task::PENDING.take();
    let _running = Running(before);
    async_std::task::block_on(main)
}

/// The tasks of the loop that ran before. It continues when this is dropped.
struct Running(task::Pending);

impl Drop for Running {
    fn drop(&mut self) {
        for task in task::PENDING.take().into_values() {
            task.cancel();
        }
        task::PENDING.set(std::mem::take(&mut self.0));
    }
}

/// async-std's own tasks, with one addition. async-std keeps pending tasks for the next loop of the
/// thread, and has no way to cancel them all. So each spawned task is registered here.
pub mod task {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::Poll;

    use async_std::task::JoinHandle;
    pub use async_std::task::{sleep, spawn_blocking, yield_now};

    pub(super) type Pending = BTreeMap<u64, Rc<dyn Cancel>>;

    thread_local! {
        pub(super) static PENDING: RefCell<Pending> = const { RefCell::new(BTreeMap::new()) };
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) trait Cancel {
        fn cancel(&self);
    }

    type Body<T> = RefCell<Option<Pin<Box<dyn Future<Output = T>>>>>;

    impl<T> Cancel for Body<T> {
        fn cancel(&self) {
            drop(self.take());
        }
    }

    /// Removes a task that has ended, or was cancelled.
    struct Ended(u64);

    impl Drop for Ended {
        fn drop(&mut self) {
            // An error: the thread is ending, and its table is already gone.
            let task = PENDING.try_with(|pending| pending.borrow_mut().remove(&self.0));
            drop(task);
        }
    }

    /// Starts a task on this thread (`asyncio.create_task`).
    pub fn spawn_local<T: 'static>(task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        let number = NEXT.replace(NEXT.get() + 1);
        let body: Rc<Body<T>> = Rc::new(RefCell::new(Some(Box::pin(task))));
        let noted = Rc::clone(&body) as Rc<dyn Cancel>;
        PENDING.with_borrow_mut(|pending| pending.insert(number, noted));
        let ended = Ended(number);
        async_std::task::spawn_local(poll_fn(move |context| {
            let _ = &ended;
            // `None`: it was cancelled, and no task waits for it.
            let Some(mut task) = body.take() else { return Poll::Pending };
            let polled = task.as_mut().poll(context);
            if polled.is_pending() {
                *body.borrow_mut() = Some(task);
            }
            polled
        }))
    }
}
