//! What sync.rs promises, one test per promise.

use super::*;
use crate::coroutine::scheduler::{run, spawn, yield_now};
use crate::coroutine::testing::forever;

#[test]
fn a_deadlock_is_reported_to_main() {
    run(|| {
        let (a, b) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let (a_too, b_too) = (a.clone(), b.clone());
        let first = spawn(move || {
            a.wait()?;
            b.set();
            io::Result::Ok(())
        });
        let _second = spawn(move || {
            b_too.wait()?;
            a_too.set();
            io::Result::Ok(())
        });
        let error = first.join().expect_err("they wait for each other");
        assert_eq!(
            error.to_string(),
            "the task cannot be joined: deadlock: every task waits for another one"
        );
        let error = forever().expect_err("no task is left to wake main");
        assert_eq!(error.kind(), io::ErrorKind::Deadlock);
    });
}

#[test]
fn a_lock_is_held_across_a_wait_and_survives_a_closed_holder() {
    run(|| {
        let lock = Rc::new(Lock::new());
        let value = Rc::new(Cell::new(0));
        let holder = lock.clone();
        let stuck = spawn(move || {
            let _held = holder.acquire()?;
            forever()
        });
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (lock, value) = (lock.clone(), value.clone());
            tasks.push(spawn(move || {
                for _ in 0..100 {
                    let _held = lock.acquire().expect("no deadlock");
                    let read = value.get();
                    yield_now();
                    value.set(read + 1);
                }
            }));
        }
        yield_now();
        assert_eq!(value.get(), 0);
        stuck.close();
        for task in tasks {
            task.join().expect("no panic");
        }
        assert_eq!(value.get(), 400);
    });
}

#[test]
fn a_channel_hands_over_in_order_and_ends_with_its_last_sender() {
    let received = run(|| {
        let (outbox, inbox) = channel();
        let mut tasks = Vec::new();
        for name in ["a", "b"] {
            let outbox = outbox.clone();
            tasks.push(spawn(move || {
                for i in 1..=2 {
                    outbox.send(format!("{name}{i}")).expect("main receives");
                    yield_now();
                }
            }));
        }
        drop(outbox);
        let mut received = Vec::new();
        while let Ok(value) = inbox.recv() {
            received.push(value);
        }
        received
    });
    assert_eq!(received.join(" "), "a1 b1 a2 b2");
}

#[test]
fn a_value_sent_before_a_receive_is_kept() {
    run(|| {
        let (outbox, inbox) = channel();
        outbox.send(1).expect("there is a receiver");
        drop(outbox);
        assert_eq!((inbox.recv(), inbox.recv()), (Ok(1), Err(RecvError)));
    });
}

#[test]
fn a_value_that_cannot_be_sent_comes_back() {
    run(|| {
        let (outbox, inbox) = channel();
        drop(inbox);
        assert_eq!(outbox.send(7), Err(SendError(7)));
    });
}

#[test]
fn a_receiver_that_is_closed_loses_nothing_that_was_sent_to_it() {
    run(|| {
        let (outbox, inbox) = channel();
        let inbox = Rc::new(inbox);
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let inbox = inbox.clone();
            tasks.push(spawn(move || inbox.recv()));
        }
        yield_now();
        outbox.send(7).expect("there is a receiver");
        tasks.remove(0).close(); // woken, but it has not run
        assert_eq!(tasks.remove(0).join().expect("no panic"), Ok(7));
    });
}

#[test]
fn to_receive_what_no_task_will_send_is_an_error() {
    run(|| {
        let (outbox, inbox) = channel::<u8>();
        assert_eq!(inbox.recv(), Err(RecvError)); // main has the only sender
        let sender = spawn(move || outbox.send(1));
        assert_eq!(inbox.recv(), Ok(1));
        sender.join().expect("no panic").expect("there is a receiver");
    });
}

#[test]
fn a_finished_wait_for_a_channel_does_not_end_a_later_wait() {
    run(|| {
        let (outbox, inbox) = channel();
        let task = spawn(move || inbox.recv().map(|value| (value, forever().is_ok())));
        yield_now();
        outbox.send(1).expect("there is a receiver");
        yield_now();
        assert!(outbox.send(2).is_ok());
        yield_now();
        assert!(!task.is_finished());
    });
}
