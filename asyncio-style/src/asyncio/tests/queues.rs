use std::rc::Rc;

use super::{DEADLINE, complete, event_loop, log, others, turns};
use crate::asyncio::queues::Queue;

#[test]
fn a_queue_without_a_size_is_never_full() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 0);
    let puts = queue.clone();
    let result = complete(&event_loop, async move {
        for n in 0..10_000 {
            puts.put(n).await?;
        }
        puts.get().await
    });
    assert!(matches!(result, Ok(Ok(0))));
    assert_eq!(queue.qsize(), 9_999);
}

#[test]
fn put_nowait_gives_back_what_does_not_fit() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 2);
    assert_eq!([1, 2, 3, 4].map(|n| queue.put_nowait(n)), [Ok(()), Ok(()), Err(3), Err(4)]);
    assert_eq!([(); 3].map(|()| queue.get_nowait()), [Some(1), Some(2), None]);
}

#[test]
fn putters_keep_their_order_although_others_come_in_between() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 1);
    queue.put_nowait(0).unwrap();
    for n in 1..=3 {
        let queue = queue.clone();
        event_loop.create_task(async move { queue.put(n).await });
    }
    turns(&event_loop, 1);
    // The first putter is woken, but before it runs its slot is taken.
    assert_eq!(queue.get_nowait(), Some(0));
    queue.put_nowait(9).unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        turns(&event_loop, 2);
        seen.extend(queue.get_nowait());
    }
    assert_eq!(seen, [9, 1, 2, 3]);
}

#[test]
fn getters_get_in_the_order_of_arrival() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 0);
    let (said, say) = log();
    for word in ["first", "second", "third"] {
        let (queue, say) = (queue.clone(), say.clone());
        event_loop.create_task(async move {
            queue.get().await.unwrap();
            say(word);
        });
    }
    turns(&event_loop, 1);
    queue.put_nowait(1).unwrap();
    assert_eq!(queue.get_nowait(), Some(1), "another getter is faster");
    turns(&event_loop, 1);
    for n in 0..3 {
        queue.put_nowait(n).unwrap();
    }
    turns(&event_loop, 2);
    assert_eq!(*said.borrow(), ["first", "second", "third"]);
}

#[test]
fn a_getter_that_was_cancelled_takes_nothing() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 1);
    let (first, second) = (queue.clone(), queue.clone());
    let cancelled = event_loop.create_task(async move { first.get().await.is_ok() });
    let waiting = event_loop.create_task(async move { second.get().await.ok() });
    turns(&event_loop, 1);
    cancelled.cancel();
    queue.put_nowait(7).unwrap();
    assert!(matches!(event_loop.run_until_complete(&waiting), Ok(Some(7))));
}

#[test]
fn a_getter_that_was_cancelled_after_it_was_woken_leaves_the_item_to_the_next() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 1);
    let (first, second) = (queue.clone(), queue.clone());
    let cancelled = event_loop.create_task(async move { first.get().await.is_ok() });
    let waiting = event_loop.create_task(async move { second.get().await.ok() });
    turns(&event_loop, 1);
    queue.put_nowait(7).unwrap();
    cancelled.cancel();
    assert!(matches!(event_loop.run_until_complete(&waiting), Ok(Some(7))));
}

#[test]
fn a_putter_that_was_cancelled_after_it_was_woken_leaves_the_slot_to_the_next() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 1);
    queue.put_nowait(0).unwrap();
    let (first, second) = (queue.clone(), queue.clone());
    let cancelled = event_loop.create_task(async move { first.put(1).await });
    event_loop.create_task(async move { second.put(2).await });
    turns(&event_loop, 1);
    assert_eq!(queue.get_nowait(), Some(0));
    cancelled.cancel();
    turns(&event_loop, 2);
    assert_eq!(queue.get_nowait(), Some(2));
}

#[test]
fn wait_for_a_get_loses_no_item() {
    let event_loop = event_loop();
    let queue: Queue<i32> = Queue::new(&event_loop, 0);
    let (waits, gets) = (event_loop.clone(), queue.clone());
    let waiting = event_loop.create_task(async move {
        let get = waits.create_task(async move { gets.get().await });
        waits.wait_for(get, DEADLINE).await
    });
    turns(&event_loop, 3);
    waiting.cancel();
    queue.put_nowait(7).unwrap();
    turns(&event_loop, 3);
    assert_eq!(queue.get_nowait(), Some(7), "a waiter that timed out does not take it");
}

#[test]
fn a_thousand_cancelled_getters_and_putters_leave_nothing() {
    let event_loop = event_loop();
    let (empty, full) = (Queue::<Rc<()>>::new(&event_loop, 1), Queue::new(&event_loop, 1));
    let item = Rc::new(());
    full.put_nowait(Rc::clone(&item)).unwrap();
    for _ in 0..1_000 {
        let (gets, puts, more) = (empty.clone(), full.clone(), Rc::clone(&item));
        let getter = event_loop.create_task(async move { gets.get().await });
        let putter = event_loop.create_task(async move { puts.put(more).await });
        turns(&event_loop, 1);
        getter.cancel();
        putter.cancel();
    }
    assert_eq!((empty.waiting(), full.waiting()), (0, 0));
    assert_eq!(others(&item), 1);
}

#[test]
fn join_waits_until_every_item_is_done() {
    let event_loop = event_loop();
    let queue = Queue::new(&event_loop, 0);
    let (said, say) = log();
    let idle = queue.clone();
    complete(&event_loop, async move { idle.join().await }).unwrap().unwrap();
    for n in 0..2 {
        queue.put_nowait(n).unwrap();
    }
    let joins = queue.clone();
    event_loop.create_task(async move {
        joins.join().await.unwrap();
        say("joined");
    });
    turns(&event_loop, 2);
    queue.get_nowait().unwrap();
    queue.get_nowait().unwrap();
    queue.task_done().unwrap();
    turns(&event_loop, 2);
    assert!(said.borrow().is_empty(), "one of two is done");
    queue.task_done().unwrap();
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["joined"]);
    let error = queue.task_done().unwrap_err();
    assert_eq!(error.to_string(), "task_done() called too many times");
}
