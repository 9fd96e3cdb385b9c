use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::{DEADLINE, OnDrop, complete, event_loop, guard, log, others, turns};
use crate::asyncio::event_loop::{EventLoop, Handle, TimerHandle};
use crate::asyncio::exceptions::Exception;
use crate::asyncio::futures::Future;

#[test]
fn callbacks_are_called_in_order_and_new_ones_in_the_next_turn() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (first, inner, last) = (say.clone(), say.clone(), say);
    let again = event_loop.clone();
    event_loop.call_soon(move || {
        first("first");
        again.call_soon(move || inner("next turn"));
        again.stop();
    });
    event_loop.call_soon(move || last("second"));
    event_loop.run_forever().unwrap();
    assert_eq!(*said.borrow(), ["first", "second"]);
}

#[test]
fn a_stop_before_the_loop_runs_ends_it_after_one_turn() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (again, inner) = (event_loop.clone(), say.clone());
    event_loop.call_soon(move || {
        say("in line");
        again.call_soon(move || inner("next turn"));
    });
    event_loop.stop();
    event_loop.run_forever().unwrap();
    assert_eq!(*said.borrow(), ["in line"]);
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["in line", "next turn"]);
}

#[test]
fn a_cancelled_call_is_not_called() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (one, two, three) = (say.clone(), say.clone(), say);
    event_loop.call_soon(move || one("soon")).cancel();
    event_loop.call_later(Duration::ZERO, move || two("later")).cancel();
    let end = event_loop.clone();
    event_loop.call_later(Duration::from_millis(1), move || {
        three("end");
        end.stop();
    });
    event_loop.run_forever().unwrap();
    assert_eq!(*said.borrow(), ["end"]);
}

#[test]
fn a_cancelled_call_drops_what_it_holds_at_once() {
    let event_loop = event_loop();
    let held = Rc::new(());
    let (soon, later) = (Rc::clone(&held), Rc::clone(&held));
    event_loop.call_soon(move || drop(soon)).cancel();
    event_loop.call_later(DEADLINE, move || drop(later)).cancel();
    assert_eq!(others(&held), 0);
}

#[test]
fn timers_fire_by_time_and_then_in_order() {
    let event_loop = event_loop();
    let (said, say) = log();
    let now = Instant::now();
    for (word, when) in [("c", 2), ("a", 1), ("b", 1)] {
        let (say, end) = (say.clone(), event_loop.clone());
        event_loop.call_at(now + Duration::from_millis(when), move || {
            say(word);
            if word == "c" {
                end.stop();
            }
        });
    }
    event_loop.run_forever().unwrap();
    assert_eq!(*said.borrow(), ["a", "b", "c"]);
}

#[test]
fn a_timer_can_cancel_another_one_that_is_due_too() {
    let event_loop = event_loop();
    let (said, say) = log();
    let victim: Rc<Cell<Option<TimerHandle>>> = Rc::default();
    let (now, cancels, first, second) = (Instant::now(), Rc::clone(&victim), say.clone(), say);
    event_loop.call_at(now, move || {
        first("first");
        cancels.take().expect("it was put there").cancel();
    });
    victim.set(Some(event_loop.call_at(now, move || second("second"))));
    turns(&event_loop, 2);
    assert_eq!(*said.borrow(), ["first"]);
}

#[test]
fn a_call_can_cancel_another_one_that_is_in_line() {
    let event_loop = event_loop();
    let (said, say) = log();
    let victim = Rc::new(Cell::new(None));
    let cancels = Rc::clone(&victim);
    event_loop.call_soon(move || {
        let victim: Handle = cancels.take().expect("it was put there");
        victim.cancel();
    });
    victim.set(Some(event_loop.call_soon(move || say("called"))));
    turns(&event_loop, 2);
    assert!(said.borrow().is_empty());
}

#[test]
fn a_reader_that_another_one_removed_is_not_called() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (mut to_a, a) = UnixStream::pair().unwrap();
    let (mut to_b, b) = UnixStream::pair().unwrap();
    let both = [Rc::new(a), Rc::new(b)];
    for n in 0..2 {
        let (removes, say, other) = (event_loop.clone(), say.clone(), Rc::clone(&both[1 - n]));
        event_loop
            .add_reader(&both[n], move || {
                say("called");
                removes.remove_reader(&*other);
            })
            .unwrap();
    }
    to_a.write_all(b"1").unwrap();
    to_b.write_all(b"1").unwrap();
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["called"], "the first one removes the other");
}

#[test]
fn a_reader_can_be_replaced_and_the_first_is_dropped() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let (socket, (dropped, held)) = (Rc::new(socket), guard());
    let first = say.clone();
    event_loop
        .add_reader(&socket, move || {
            let _held = &held;
            first("first");
        })
        .unwrap();
    event_loop.add_reader(&socket, move || say("second")).unwrap();
    assert!(dropped.get());
    peer.write_all(b"1").unwrap();
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["second"]);
    event_loop.remove_reader(&*socket);
    assert_eq!(others(&socket), 0);
}

#[test]
fn destructors_may_use_the_loop_wherever_they_run() {
    let event_loop = event_loop();
    // The destructor of a cancelled timer: it cancels another one, and requests a call and a task.
    let uses = |event_loop: &EventLoop| {
        let (event_loop, other) =
            (event_loop.clone(), event_loop.call_later(DEADLINE, || panic!("it was cancelled")));
        OnDrop(move || {
            other.cancel();
            event_loop.call_soon(|| {}).cancel();
            event_loop.call_later(Duration::ZERO, || {});
            event_loop.create_task(async {}).cancel();
        })
    };
    let held = uses(&event_loop);
    event_loop.call_later(DEADLINE, move || drop(held)).cancel();
    let held = uses(&event_loop);
    event_loop.call_soon(move || drop(held)).cancel();
    // The destructor of a reader that is removed, replaced, or refused.
    let (_peer, socket) = UnixStream::pair().unwrap();
    let socket = Rc::new(socket);
    for _ in 0..2 {
        let held = uses(&event_loop);
        event_loop.add_reader(&socket, move || _ = &held).unwrap();
    }
    event_loop.remove_reader(&*socket);
    let file = Rc::new(File::open("/proc/self/exe").unwrap());
    let held = uses(&event_loop);
    event_loop.add_reader(&file, move || _ = &held).unwrap_err();
    // The destructor of a cancelled task.
    let (held, never) = (uses(&event_loop), event_loop.create_future::<()>());
    let task = event_loop.create_task(async move {
        let _held = held;
        never.await
    });
    turns(&event_loop, 1);
    task.cancel();
    // The destructors of all that is left when the loop is closed.
    let (soon, later, watch) = (uses(&event_loop), uses(&event_loop), uses(&event_loop));
    event_loop.call_soon(move || drop(soon));
    event_loop.call_later(DEADLINE, move || drop(later));
    event_loop.add_reader(&socket, move || _ = &watch).unwrap();
    let from_thread = event_loop.threadsafe();
    thread::spawn(move || from_thread.call_soon_threadsafe(|_| {})).join().unwrap().unwrap();
    event_loop.close().unwrap();
}

#[test]
fn other_threads_have_one_way_in() {
    let event_loop = event_loop();
    let threadsafe = event_loop.threadsafe();
    let thread = thread::spawn(move || threadsafe.call_soon_threadsafe(EventLoop::stop));
    event_loop.run_forever().unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn calls_from_the_own_thread_keep_their_order() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (first, last) = (say.clone(), say);
    event_loop.call_soon(move || first("a"));
    // A `Send` callback cannot share the log, so it requests a call that does.
    event_loop.threadsafe().call_soon_threadsafe(|event_loop| _ = event_loop.counts()).unwrap();
    event_loop.call_soon(move || last("c"));
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["a", "c"]);
    assert_eq!(event_loop.counts().0, 3, "all of them were called in the same turn");
}

#[test]
fn a_storm_of_calls_from_a_thread_does_not_starve_a_timer() {
    let event_loop = event_loop();
    let (ended, threadsafe) = (Arc::new(AtomicBool::new(false)), event_loop.threadsafe());
    let sent = Arc::new(AtomicUsize::new(0));
    let (over, counts) = (Arc::clone(&ended), Arc::clone(&sent));
    let storm = thread::spawn(move || {
        while !over.load(SeqCst) && threadsafe.call_soon_threadsafe(|_| {}).is_ok() {
            counts.fetch_add(1, SeqCst);
        }
    });
    while sent.load(SeqCst) < 100 {
        thread::yield_now();
    }
    let stops = event_loop.clone();
    event_loop.call_later(Duration::from_millis(1), move || stops.stop());
    event_loop.run_forever().unwrap();
    ended.store(true, SeqCst);
    storm.join().unwrap();
}

/// A call that requests itself again must not starve the timers and the sources.
#[test]
fn a_call_that_asks_for_itself_does_not_starve_a_timer() {
    fn again(event_loop: &EventLoop) {
        let next = event_loop.clone();
        event_loop.call_soon(move || again(&next));
    }
    let event_loop = event_loop();
    again(&event_loop);
    let stops = event_loop.clone();
    event_loop.call_later(Duration::from_millis(1), move || stops.stop());
    event_loop.run_forever().unwrap();
}

#[test]
fn a_running_loop_cannot_be_run_or_closed() {
    let event_loop = event_loop();
    let (inner, other) = (event_loop.clone(), super::event_loop());
    let done: Future<()> = event_loop.create_future();
    done.set_result(());
    let said = complete(&event_loop, async move {
        [
            inner.run_forever().unwrap_err().to_string(),
            inner.run_until_complete(&done).unwrap_err().to_string(),
            other.run_forever().unwrap_err().to_string(),
            inner.close().unwrap_err().to_string(),
        ]
    });
    let [again, complete, other, close] = said.expect("none of these attempts stops it");
    assert_eq!(again, "this event loop is already running");
    assert_eq!(complete, again);
    assert_eq!(other, "cannot run the event loop while another loop is running");
    assert_eq!(close, "cannot close a running event loop");
    turns(&event_loop, 1);
}

#[test]
fn a_panic_in_a_callback_leaves_a_loop_that_runs() {
    let event_loop = event_loop();
    let (said, say) = log();
    event_loop.call_soon(|| resume_unwind(Box::new("boom")));
    event_loop.call_soon(move || say("after"));
    assert!(catch_unwind(AssertUnwindSafe(|| turns(&event_loop, 1))).is_err());
    turns(&event_loop, 1);
    assert_eq!(*said.borrow(), ["after"]);
}

#[test]
fn a_stopped_loop_says_that_the_future_is_pending() {
    let event_loop = event_loop();
    let pending: Future<()> = event_loop.create_future();
    let stops = event_loop.clone();
    event_loop.call_soon(move || stops.stop());
    let error = event_loop.run_until_complete(&pending).unwrap_err();
    assert!(matches!(error, Exception::Raised(_)), "{error}");
    assert!(!pending.done());
    // It can be run again, and the first attempt does not stop it.
    let sets = pending.clone();
    event_loop.call_soon(move || sets.set_result(()));
    event_loop.run_until_complete(&pending).unwrap();
}

#[test]
fn a_delay_that_is_too_long_for_the_clock_is_forever() {
    let event_loop = event_loop();
    let handle = event_loop.call_later(Duration::MAX, || panic!("it came"));
    turns(&event_loop, 1);
    handle.cancel();
    let waits = event_loop.clone();
    let result = complete(&event_loop, async move {
        let long = waits.sleep(Duration::MAX);
        let task = waits.create_task(async { 7 });
        let seven = waits.wait_for(task, Duration::MAX).await;
        let late = waits.wait_for(long, Duration::from_millis(1)).await;
        (seven.unwrap(), late.is_err())
    });
    assert_eq!(result.unwrap(), (7, true));
}

#[test]
fn a_closed_loop_frees_all_and_refuses_the_rest() {
    let event_loop = event_loop();
    let held = Rc::new(());
    let share = || Rc::clone(&held);
    let never: Future<()> = event_loop.create_future();
    let (one, two, three, four, five) = (share(), share(), share(), share(), share());
    let waits = never.clone();
    let pending = event_loop.create_task(async move {
        let result = waits.await;
        drop(one);
        result
    });
    turns(&event_loop, 1);
    let unborn = event_loop.create_task(async move { drop(two) });
    event_loop.call_soon(move || drop(three));
    event_loop.call_later(DEADLINE, move || drop(four));
    let (_peer, socket) = UnixStream::pair().unwrap();
    let socket = Rc::new(socket);
    event_loop.add_reader(&socket, move || _ = &five).unwrap();
    event_loop.close().unwrap();
    event_loop.close().unwrap();
    assert_eq!((others(&held), others(&socket)), (0, 0));
    assert!(pending.done() && unborn.done() && never.done());
    assert!(event_loop.is_closed());
    let said = event_loop.run_forever().unwrap_err().to_string();
    assert_eq!(said, "the event loop is closed");
    event_loop.call_soon(|| panic!("it is closed"));
    event_loop.call_later(Duration::ZERO, || panic!("it is closed"));
    event_loop.add_reader(&socket, || panic!("it is closed")).unwrap_err();
    let threadsafe = event_loop.threadsafe();
    threadsafe.call_soon_threadsafe(|_| panic!("it is closed")).unwrap_err();
    let elsewhere = thread::spawn(move || threadsafe.call_soon_threadsafe(|_| {}));
    assert!(elsewhere.join().unwrap().is_err());
    let refused = event_loop.create_task(async { 7 });
    assert!(matches!(refused.result(), Some(Err(Exception::Cancelled))));
}

#[test]
fn a_dropped_loop_is_closed_although_its_tasks_have_clones() {
    let event_loop = event_loop();
    let (dropped, held) = guard();
    let waits = event_loop.clone();
    event_loop.create_task(async move {
        let _held = held;
        waits.sleep(DEADLINE).await
    });
    turns(&event_loop, 1);
    drop(event_loop.clone());
    assert!(!dropped.get(), "a clone is not the loop");
    drop(event_loop);
    assert!(dropped.get());
}
