use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use super::{complete, event_loop, log, others, turns};
use crate::asyncio::exceptions::Exception;
use crate::asyncio::futures::Future;

#[test]
fn done_callbacks_come_from_the_loop_never_from_set_result() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (in_callback, after) = (say.clone(), say);
    let future = event_loop.create_future();
    let end = event_loop.clone();
    future.add_done_callback(move |future: &Future<i32>| {
        in_callback(if matches!(future.result(), Some(Ok(7))) { "seven" } else { "what?" });
        end.stop();
    });
    future.set_result(7);
    future.set_result(8);
    after("set");
    event_loop.run_forever().unwrap();
    assert_eq!(*said.borrow(), ["set", "seven"]);
}

#[test]
fn callbacks_and_awaits_come_in_the_order_of_registration() {
    let event_loop = event_loop();
    let (said, say) = log();
    let future: Future<()> = event_loop.create_future();
    let (waits, task, callback, before) = (future.clone(), say.clone(), say.clone(), say);
    future.add_done_callback(move |_| before("callback before"));
    event_loop.create_task(async move {
        waits.await.unwrap();
        task("task");
    });
    turns(&event_loop, 1);
    future.add_done_callback(move |_| callback("callback after"));
    future.set_result(());
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["callback before", "task", "callback after"]);
}

#[test]
fn a_future_that_is_polled_again_keeps_one_waker() {
    let event_loop = event_loop();
    let mut future: Future<()> = event_loop.create_future();
    let (flag, other) = (Arc::new(Flag), Arc::new(Flag));
    for waker in [&flag, &flag, &flag, &other] {
        let waker = Waker::from(Arc::clone(waker));
        let polled =
            std::future::Future::poll(Pin::new(&mut future), &mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    assert_eq!((Arc::strong_count(&flag), Arc::strong_count(&other)), (1, 2));
    drop(future);
    assert_eq!(Arc::strong_count(&other), 1);
}

struct Flag;

impl Wake for Flag {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn dropping_a_task_cancels_what_it_awaits() {
    let event_loop = event_loop();
    let future: Future<()> = event_loop.create_future();
    let untouched = future.clone();
    drop(untouched);
    assert!(!future.done(), "a handle that was never awaited does not cancel");
    let mut awaited = future.clone();
    let waker = Waker::noop();
    let polled = std::future::Future::poll(Pin::new(&mut awaited), &mut Context::from_waker(waker));
    assert!(polled.is_pending());
    drop(awaited);
    assert!(matches!(future.result(), Some(Err(Exception::Cancelled))));
}

#[test]
fn a_future_that_has_ended_cannot_be_cancelled() {
    let event_loop = event_loop();
    let future = event_loop.create_future();
    future.set_result(7);
    assert!(!future.cancel());
    assert!(matches!(future.result(), Some(Ok(7))));
    let cancelled: Future<()> = event_loop.create_future();
    assert!(cancelled.cancel());
    assert!(!cancelled.cancel());
    cancelled.set_result(());
    assert!(matches!(cancelled.result(), Some(Err(Exception::Cancelled))));
}

#[test]
fn a_thousand_cancelled_waiters_leave_nothing_at_the_future() {
    let event_loop = event_loop();
    let probe = Rc::new(());
    let slow: Future<Rc<()>> = event_loop.create_future();
    let waits = event_loop.clone();
    let inner = slow.clone();
    let held = Rc::clone(&probe);
    let result = complete(&event_loop, async move {
        for _ in 0..1_000 {
            let (inner, held) = (crate::asyncio::tasks::shield(&waits, &inner), Rc::clone(&held));
            let waiting = waits.create_task(async move {
                let result = inner.await;
                drop(held);
                result
            });
            waits.sleep(std::time::Duration::ZERO).await.unwrap();
            waiting.cancel();
        }
    });
    result.unwrap();
    assert_eq!(others(&probe), 0);
    assert!(!slow.done(), "the shield held");
    assert_eq!(slow.callbacks(), 0);
}

#[test]
fn a_result_can_be_polled_more_than_once() {
    let event_loop = event_loop();
    let future = event_loop.create_future();
    future.set_result(7);
    let (first, second) = (future.clone(), future);
    let both = complete(&event_loop, async move { (first.await, second.await) }).unwrap();
    assert!(matches!(both, (Ok(7), Ok(7))));
}
