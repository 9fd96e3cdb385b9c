use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::{DEADLINE, OnDrop, complete, event_loop, guard, log, others, turns};
use crate::asyncio::event_loop::EventLoop;
use crate::asyncio::exceptions::Exception;
use crate::asyncio::futures::Future;
use crate::asyncio::tasks::{
    ReturnWhen, Task, as_completed, gather, gather_return_exceptions, shield, wait,
};

#[test]
fn a_task_is_stepped_by_call_soon() {
    let event_loop = event_loop();
    let waits = event_loop.clone();
    let task = event_loop.create_task(async move {
        waits.sleep(Duration::ZERO).await?;
        waits.sleep(Duration::ZERO).await?;
        Ok::<_, Exception>(42)
    });
    let result = event_loop.run_until_complete(&task);
    assert!(matches!(result, Ok(Ok(42))), "{result:?}");
    let (calls, steps) = event_loop.counts();
    assert_eq!(steps, 3);
    assert!(calls > steps);
}

#[test]
fn a_sleep_of_zero_takes_one_turn() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (waits, task) = (event_loop.clone(), say.clone());
    event_loop.create_task(async move {
        for word in ["1", "2", "3"] {
            task(word);
            waits.sleep(Duration::ZERO).await.unwrap();
        }
    });
    let (again, turn) = (event_loop.clone(), say.clone());
    event_loop.call_soon(move || {
        turn("a");
        again.call_soon(move || say("b"));
    });
    turns(&event_loop, 3);
    assert_eq!(*said.borrow(), ["1", "a", "2", "b", "3"]);
    let slept = event_loop.sleep(Duration::ZERO);
    event_loop.run_until_complete(&slept).unwrap();
}

/// As many turns as asyncio takes: one to begin, one after each wake-up.
#[test]
fn a_wake_up_takes_one_turn() {
    let event_loop = event_loop();
    let inner = event_loop.create_future();
    let waits = inner.clone();
    let middle = event_loop.create_task(async move { waits.await.unwrap() });
    let outer = event_loop.create_task(async move { middle.await.unwrap() });
    turns(&event_loop, 1);
    inner.set_result(7);
    for done in [false, true] {
        turns(&event_loop, 1);
        assert_eq!(outer.done(), done);
    }
}

#[test]
fn a_task_is_woken_by_other_threads() {
    let event_loop = event_loop();
    let woken = complete(&event_loop, async {
        let (sender, receiver) = smol::channel::bounded(1);
        let thread = thread::spawn(move || sender.send_blocking(7));
        let received = receiver.recv().await;
        thread.join().unwrap().unwrap();
        received
    });
    assert_eq!(woken.unwrap(), Ok(7));
}

#[test]
fn a_cancelled_task_is_dropped_and_its_future_cancelled() {
    let event_loop = event_loop();
    let (dropped, held) = guard();
    let never: Future<()> = event_loop.create_future();
    let task = event_loop.create_task(async move {
        let _held = held;
        never.await.is_ok()
    });
    turns(&event_loop, 1);
    assert!(task.cancel() && !task.cancel());
    assert!(dropped.get());
    assert!(matches!(event_loop.run_until_complete(&task), Err(Exception::Cancelled)));
}

#[test]
fn a_task_that_is_cancelled_at_once_does_not_begin() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (dropped, held) = guard();
    let task = event_loop.create_task(async move {
        let _held = held;
        say("begun");
    });
    task.cancel();
    assert!(dropped.get());
    turns(&event_loop, 3);
    assert!(said.borrow().is_empty());
}

#[test]
fn a_task_can_cancel_itself_and_goes_no_further_than_its_next_await() {
    let event_loop = event_loop();
    let (said, say) = log();
    let itself: Rc<RefCell<Option<Task<()>>>> = Rc::default();
    let (waits, own) = (event_loop.clone(), Rc::clone(&itself));
    let task = event_loop.create_task(async move {
        own.borrow().as_ref().expect("it was put there").cancel();
        say("before the await");
        let _ = waits.sleep(DEADLINE).await;
        say("after it");
    });
    *itself.borrow_mut() = Some(task.clone());
    turns(&event_loop, 3);
    assert_eq!(*said.borrow(), ["before the await"]);
    assert!(matches!(task.result(), Some(Err(Exception::Cancelled))));
}

#[test]
fn a_task_cannot_await_itself() {
    let event_loop = event_loop();
    let itself: Rc<Cell<Option<Task<bool>>>> = Rc::default();
    let own = Rc::clone(&itself);
    let task = event_loop.create_task(async move {
        let result = own.take().expect("it was put there").await;
        matches!(result, Err(Exception::Raised(_)))
    });
    itself.set(Some(task.clone()));
    assert!(event_loop.run_until_complete(&task).unwrap());
}

#[test]
fn two_tasks_that_await_each_other_can_be_cancelled() {
    let event_loop = event_loop();
    let second: Rc<Cell<Option<Task<()>>>> = Rc::default();
    let waits = Rc::clone(&second);
    let first = event_loop.create_task(async move {
        let _ = waits.take().expect("it was put there").await;
    });
    let other = first.clone();
    let task = event_loop.create_task(async move { _ = other.await });
    second.set(Some(task.clone()));
    turns(&event_loop, 2);
    first.cancel();
    assert!(first.done() && task.done());
}

#[test]
fn cancelling_a_task_cancels_what_it_awaits_all_the_way_down() {
    let event_loop = event_loop();
    let (said, say) = log();
    let never: Future<()> = event_loop.create_future();
    let (waits, inner, outer) = (never.clone(), say.clone(), say);
    let bottom = event_loop.create_task(async move {
        let _says = OnDrop(move || inner("inner"));
        waits.await
    });
    let middle = bottom.clone();
    let top = event_loop.create_task(async move {
        let _says = OnDrop(move || outer("outer"));
        middle.await
    });
    turns(&event_loop, 2);
    top.cancel();
    assert!(bottom.done() && never.done());
    assert_eq!(*said.borrow(), ["inner", "outer"], "in the order of finally blocks");
}

#[test]
fn a_long_chain_of_tasks_is_cancelled_from_above() {
    let event_loop = event_loop();
    let never: Future<()> = event_loop.create_future();
    let mut last = never.clone();
    for _ in 0..1_000 {
        let inner = last;
        last = event_loop.create_task(async move { _ = inner.await });
    }
    turns(&event_loop, 1);
    last.cancel();
    assert!(never.done());
}

#[test]
fn a_destructor_may_use_the_loop_when_its_task_is_cancelled() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (creates, never) = (event_loop.clone(), event_loop.create_future::<()>());
    let task = event_loop.create_task(async move {
        let _creates = OnDrop(move || {
            let say = say.clone();
            creates.create_task(async move { say("cleaned up") });
        });
        never.await
    });
    turns(&event_loop, 1);
    task.cancel();
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["cleaned up"]);
}

#[test]
fn cancelled_sleepers_leave_no_timer() {
    let event_loop = event_loop();
    let mut tasks = Vec::new();
    for begun in [true, false] {
        for _ in 0..500 {
            let sleep = event_loop.sleep(DEADLINE);
            tasks.push(event_loop.create_task(sleep));
        }
        turns(&event_loop, usize::from(begun));
    }
    for task in &tasks {
        task.cancel();
    }
    assert_eq!(event_loop.timers(), 0);
    event_loop.sleep(DEADLINE).cancel();
    assert_eq!(event_loop.timers(), 0);
}

#[test]
fn a_panic_in_a_task_ends_it_and_comes_out_of_the_loop() {
    let event_loop = event_loop();
    let task = event_loop.create_task(async { resume_unwind(Box::new("boom")) });
    let waits = task.clone();
    let waiting = event_loop.create_task(async move {
        let result: Result<(), Exception> = waits.await;
        result.unwrap_err().to_string()
    });
    assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run_until_complete(&task))).is_err());
    assert_eq!(event_loop.run_until_complete(&waiting).unwrap(), "the task has panicked");
}

// wait_for

#[test]
fn wait_for_cancels_what_never_ends() {
    let event_loop = event_loop();
    let never: Future<()> = event_loop.create_future();
    let (waits, victim) = (event_loop.clone(), never.clone());
    let said = complete(&event_loop, async move {
        let result = waits.wait_for(victim, Duration::from_millis(1)).await;
        result.expect_err("it never ends").to_string()
    });
    assert_eq!(said.unwrap(), io::Error::from(io::ErrorKind::TimedOut).to_string());
    assert!(never.done());
}

#[test]
fn wait_for_removes_its_timer_when_the_task_is_done() {
    let event_loop = event_loop();
    let waits = event_loop.clone();
    let result = complete(&event_loop, async move {
        let task = waits.create_task(async { 7 });
        let seven = waits.wait_for(task, DEADLINE).await.unwrap();
        let failed = waits.create_future::<()>();
        failed.set_exception(io::Error::other("failed"));
        (seven, waits.wait_for(failed, DEADLINE).await.unwrap_err().to_string())
    });
    assert_eq!(result.unwrap(), (7, "failed".to_string()));
    assert_eq!(event_loop.timers(), 0);
}

#[test]
fn a_cancelled_wait_for_cancels_the_inner_task_and_its_timer() {
    let event_loop = event_loop();
    let never: Future<()> = event_loop.create_future();
    let (waits, inner) = (event_loop.clone(), never.clone());
    let task = event_loop.create_task(async move { waits.wait_for(inner, DEADLINE).await });
    turns(&event_loop, 1);
    assert_eq!(event_loop.timers(), 1);
    task.cancel();
    assert!(never.done());
    assert_eq!(event_loop.timers(), 0);
}

#[test]
fn wait_for_without_time_takes_only_what_is_done() {
    let event_loop = event_loop();
    let (said, say) = log();
    let waits = event_loop.clone();
    let result = complete(&event_loop, async move {
        let unborn = waits.create_task(async move { say("begun") });
        let late = waits.wait_for(unborn, Duration::ZERO).await;
        let done = waits.create_future();
        done.set_result(7);
        (late.unwrap_err().to_string(), waits.wait_for(done, Duration::ZERO).await.unwrap())
    });
    let timed_out = io::Error::from(io::ErrorKind::TimedOut).to_string();
    assert_eq!(result.unwrap(), (timed_out, 7));
    assert!(said.borrow().is_empty());
}

#[test]
fn wait_for_tells_a_cancelled_task_from_a_late_one() {
    let event_loop = event_loop();
    let inner: Future<()> = event_loop.create_future();
    let (waits, victim) = (event_loop.clone(), inner.clone());
    let task = event_loop.create_task(async move { waits.wait_for(victim, DEADLINE).await });
    turns(&event_loop, 1);
    inner.cancel();
    let result = event_loop.run_until_complete(&task).unwrap();
    assert!(matches!(result, Err(Exception::Cancelled)));
}

// gather

fn three(event_loop: &EventLoop) -> Vec<Future<i32>> {
    (0..3).map(|_| event_loop.create_future()).collect()
}

#[test]
fn gather_returns_results_by_position() {
    let event_loop = event_loop();
    let futures = three(&event_loop);
    let all = event_loop.create_task(gather(futures.clone()));
    turns(&event_loop, 1);
    for n in [2, 0, 1] {
        futures[n].set_result(n as i32);
        turns(&event_loop, 1);
    }
    assert_eq!(event_loop.run_until_complete(&all).unwrap().unwrap(), [0, 1, 2]);
    assert!(complete(&event_loop, gather(Vec::<Task<()>>::new())).unwrap().unwrap().is_empty());
    let twice = vec![futures[1].clone(), futures[1].clone()];
    assert_eq!(complete(&event_loop, gather(twice)).unwrap().unwrap(), [1, 1]);
}

#[test]
fn gather_returns_the_first_error_in_time_and_the_others_go_on() {
    let event_loop = event_loop();
    let futures = three(&event_loop);
    let all = event_loop.create_task(gather(futures.clone()));
    turns(&event_loop, 1);
    futures[2].set_exception(io::Error::other("the last one"));
    futures[1].set_exception(io::Error::other("the middle one"));
    let error = event_loop.run_until_complete(&all).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the last one");
    assert!(!futures[0].done());
    assert_eq!(futures[0].callbacks(), 0);
}

#[test]
fn a_cancelled_gather_cancels_its_children() {
    let event_loop = event_loop();
    let futures = three(&event_loop);
    let all = event_loop.create_task(gather(futures.clone()));
    turns(&event_loop, 1);
    futures[1].set_result(1);
    all.cancel();
    assert!(matches!(futures[1].result(), Some(Ok(1))));
    assert!(futures.iter().all(Future::done));
    let futures = three(&event_loop);
    let all = event_loop.create_task(gather_return_exceptions(futures.clone()));
    turns(&event_loop, 1);
    all.cancel();
    assert!(futures.iter().all(Future::done));
}

#[test]
fn a_child_that_is_cancelled_is_an_error_of_the_gather() {
    let event_loop = event_loop();
    let futures = three(&event_loop);
    let all = event_loop.create_task(gather(futures.clone()));
    turns(&event_loop, 1);
    futures[1].cancel();
    let result = event_loop.run_until_complete(&all).unwrap();
    assert!(matches!(result, Err(Exception::Cancelled)));
    assert!(!futures[0].done() && !futures[2].done());
}

#[test]
fn gather_returns_exceptions_on_request() {
    let event_loop = event_loop();
    let futures = three(&event_loop);
    futures[2].set_exception(io::Error::other("failed"));
    futures[0].cancel();
    futures[1].set_result(1);
    let all = complete(&event_loop, gather_return_exceptions(futures)).unwrap().unwrap();
    let said: Vec<_> = all.into_iter().map(|one| one.map_err(|e| e.to_string())).collect();
    assert_eq!(said, [Err("cancelled".into()), Ok(1), Err("failed".into())]);
}

// wait, as_completed

#[test]
fn wait_returns_at_each_of_its_conditions() {
    for (return_when, after) in [
        (ReturnWhen::FirstCompleted, 1),
        (ReturnWhen::FirstException, 2),
        (ReturnWhen::AllCompleted, 3),
    ] {
        let event_loop = event_loop();
        let futures = three(&event_loop);
        let tasks = futures.clone();
        let waiting = event_loop.create_task(async move { wait(&tasks, return_when).await });
        turns(&event_loop, 1);
        for (n, future) in futures.iter().enumerate() {
            assert_eq!(waiting.done(), n >= after);
            if n == 1 {
                future.set_exception(io::Error::other("failed"));
            } else {
                future.set_result(0);
            }
            turns(&event_loop, 2);
        }
        let (done, pending) = waiting.result().unwrap().unwrap().unwrap();
        assert_eq!((done.len(), pending.len()), (3, 0).min((after, 3 - after)));
    }
}

#[test]
fn a_cancelled_wait_leaves_its_tasks_alone() {
    let event_loop = event_loop();
    let futures = three(&event_loop);
    let tasks = futures.clone();
    let waiting =
        event_loop.create_task(async move { wait(&tasks, ReturnWhen::AllCompleted).await });
    turns(&event_loop, 1);
    waiting.cancel();
    assert!(futures.iter().all(|future| !future.done() && future.callbacks() == 0));
}

#[test]
fn a_wait_for_no_tasks_is_an_error() {
    let event_loop = event_loop();
    let nothing = complete(&event_loop, async {
        wait::<()>(&[], ReturnWhen::FirstCompleted).await.map(drop)
    });
    assert!(nothing.unwrap().is_err());
}

#[test]
fn as_completed_brings_the_quickest_first() {
    let event_loop = event_loop();
    let futures = three(&event_loop);
    let done = as_completed(&event_loop, &futures);
    for n in [1, 2, 0] {
        futures[n].set_result(n as i32);
        turns(&event_loop, 1);
    }
    let come: Vec<_> = std::iter::from_fn(|| done.get_nowait()).collect();
    let come: Vec<_> = come.iter().map(|task| task.result().unwrap().unwrap()).collect();
    assert_eq!(come, [1, 2, 0]);
}

// shield

#[test]
fn a_shield_holds_and_nothing_else_does() {
    for shielded in [true, false] {
        let event_loop = event_loop();
        let inner: Future<()> = event_loop.create_future();
        let outer = if shielded { shield(&event_loop, &inner) } else { inner.clone() };
        let task = event_loop.create_task(outer);
        turns(&event_loop, 1);
        task.cancel();
        assert_eq!(inner.done(), !shielded);
    }
}

#[test]
fn a_shield_ends_as_the_inner_does() {
    let event_loop = event_loop();
    let inner = three(&event_loop);
    let outer: Vec<_> = inner.iter().map(|inner| shield(&event_loop, inner)).collect();
    inner[0].set_result(7);
    inner[1].set_exception(io::Error::other("failed"));
    inner[2].cancel();
    turns(&event_loop, 1);
    assert!(matches!(outer[0].result(), Some(Ok(7))));
    assert_eq!(outer[1].result().unwrap().unwrap_err().to_string(), "failed");
    assert!(matches!(outer[2].result(), Some(Err(Exception::Cancelled))));
    let sleeping = shield(&event_loop, &event_loop.sleep(Duration::from_millis(1)));
    event_loop.run_until_complete(&sleeping).unwrap();
}

#[test]
fn a_loop_is_freed_with_its_last_handle() {
    let probe = Rc::new(());
    let event_loop = event_loop();
    let held = Rc::clone(&probe);
    let waits = event_loop.clone();
    let task = event_loop.create_task(async move {
        let own = waits.create_task(waits.sleep(DEADLINE));
        let all = gather(vec![own]).await;
        drop(held);
        all
    });
    turns(&event_loop, 2);
    drop(event_loop);
    assert_eq!(others(&probe), 0);
    assert!(task.done());
}
