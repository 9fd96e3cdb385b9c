use std::io;
use std::rc::Rc;

use super::{complete, event_loop, guard, log, others, turns};
use crate::asyncio::exceptions::Exception;
use crate::asyncio::futures::Future;
use crate::asyncio::taskgroups::TaskGroup;

fn failing() -> Result<i32, Exception> {
    Err(io::Error::other("one failed").into())
}

#[test]
fn all_results_come_in_the_order_of_starting() {
    let event_loop = event_loop();
    let mut group = TaskGroup::new(&event_loop);
    let slow: Future<()> = event_loop.create_future();
    let waits = slow.clone();
    group.create_task(async move { waits.await.map(|()| 1) });
    group.create_task(async move {
        slow.set_result(());
        Ok(2)
    });
    assert_eq!(complete(&event_loop, group.join()).unwrap().unwrap(), [1, 2]);
    let empty = TaskGroup::<i32>::new(&event_loop);
    assert!(complete(&event_loop, empty.join()).unwrap().unwrap().is_empty());
}

#[test]
fn a_failure_cancels_the_others_also_before_the_join() {
    let event_loop = event_loop();
    let mut group = TaskGroup::new(&event_loop);
    let (dropped, held) = guard();
    let never: Future<i32> = event_loop.create_future();
    group.create_task(async move {
        let _held = held;
        never.await
    });
    group.create_task(async { failing() });
    turns(&event_loop, 2);
    assert!(dropped.get(), "the group is not joined yet");
    let (said, say) = log();
    let refused = group.create_task(async move {
        say("begun");
        Ok(7)
    });
    assert!(refused.done());
    let error = complete(&event_loop, group.join()).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "one failed");
    assert!(said.borrow().is_empty());
}

#[test]
fn a_cancelled_child_is_not_a_failure() {
    let event_loop = event_loop();
    let mut group = TaskGroup::new(&event_loop);
    let (never, inner): (Future<i32>, Future<i32>) =
        (event_loop.create_future(), event_loop.create_future());
    let waits = inner.clone();
    let child = group.create_task(never);
    group.create_task(waits);
    group.create_task(async { Ok(3) });
    turns(&event_loop, 1);
    child.cancel();
    inner.cancel();
    assert_eq!(complete(&event_loop, group.join()).unwrap().unwrap(), [3]);
}

#[test]
fn a_cancelled_parent_cancels_the_children() {
    for join in [true, false] {
        let event_loop = event_loop();
        let probe = Rc::new(());
        let (creates, held) = (event_loop.clone(), Rc::clone(&probe));
        let parent = event_loop.create_task(async move {
            let mut group = TaskGroup::new(&creates);
            for _ in 0..3 {
                let (never, held): (Future<()>, _) = (creates.create_future(), Rc::clone(&held));
                group.create_task(async move {
                    let result = never.await;
                    drop(held);
                    result
                });
            }
            if !join {
                creates.create_future::<()>().await?;
            }
            group.join().await
        });
        turns(&event_loop, 2);
        assert_eq!(others(&probe), 4);
        parent.cancel();
        assert_eq!(others(&probe), 0, "in the join: {join}");
    }
}

#[test]
fn a_group_that_is_dropped_cancels_its_tasks() {
    let event_loop = event_loop();
    let mut group = TaskGroup::new(&event_loop);
    let never: Future<()> = event_loop.create_future();
    let waits = never.clone();
    group.create_task(waits);
    turns(&event_loop, 1);
    drop(group);
    assert!(never.done());
}
