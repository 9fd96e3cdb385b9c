//! What scheduler.rs promises, one test per promise.

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::coroutine::generators::Generator;
use crate::coroutine::stack::STACK;
use crate::coroutine::sync::Event;
use crate::coroutine::testing::{Explosive, Finally, Log, forever, late, logged, note, soon};

#[test]
fn run_returns_what_main_returns_and_main_may_borrow() {
    let mut seen = 0;
    let answer = run(|| {
        seen = spawn(|| 6 * 7).join().expect("no panic");
        "done"
    });
    assert_eq!((seen, answer), (42, "done"));
}

#[test]
fn a_task_does_not_run_before_its_spawner_waits_and_then_turns_are_first_in_first_out() {
    let log = Log::default();
    run(|| {
        let mut tasks = Vec::new();
        for name in ["a", "b", "c"] {
            let log = log.clone();
            tasks.push(spawn(move || {
                for step in 1..=2 {
                    note(&log, format!("{name}{step}"));
                    yield_now();
                }
            }));
        }
        note(&log, "spawned");
        for task in tasks {
            task.join().expect("no panic");
        }
    });
    assert_eq!(log.borrow().join(" "), "spawned a1 b1 c1 a2 b2 c2");
}

#[test]
fn tasks_spawn_and_join_tasks() {
    fn sum(from: u64, to: u64) -> u64 {
        if to - from == 1 {
            return from;
        }
        let middle = from.midpoint(to);
        let left = spawn(move || sum(from, middle));
        let right = spawn(move || sum(middle, to));
        left.join().expect("no panic") + right.join().expect("no panic")
    }
    assert_eq!(run(|| sum(0, 100)), 4950);
}

#[test]
fn a_panic_is_that_tasks_error() {
    run(|| {
        let bad = spawn(|| -> u8 { panic!("no luck") });
        let good = spawn(|| 1);
        let error = bad.join().expect_err("it panicked");
        assert_eq!(error.to_string(), "the task panicked: no luck");
        assert_eq!(good.join().expect("no panic"), 1);
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let log = Log::default();
    run(|| {
        let mut tasks = Vec::new();
        for ms in [30, 10, 20] {
            let log = log.clone();
            tasks.push(spawn(move || {
                let before = Instant::now();
                sleep(Duration::from_millis(ms));
                assert!(before.elapsed() >= Duration::from_millis(ms));
                note(&log, ms.to_string());
            }));
        }
        for task in tasks {
            task.join().expect("no panic");
        }
    });
    assert_eq!(log.borrow().join(" "), "10 20 30");
}

#[test]
fn close_unwinds_the_stack_where_it_waits() {
    let log = Log::default();
    run(|| {
        let inner = log.clone();
        let task = spawn(move || {
            let _finally = Finally(inner.clone(), "finally");
            note(&inner, "started");
            sleep(Duration::from_hours(1));
            note(&inner, "never");
        });
        yield_now();
        task.close();
        note(&log, "closed");
        assert!(matches!(task.join(), Err(Failed::Closed)));
    });
    assert_eq!(log.borrow().join(" "), "started finally closed");
}

#[test]
fn a_task_closed_before_it_started_never_runs_and_drops_what_it_owns() {
    let log = Log::default();
    run(|| {
        let (owned, inner) = (Finally(log.clone(), "dropped"), log.clone());
        let task = spawn(move || {
            let _owned = owned;
            note(&inner, "never");
        });
        task.close();
        assert!(matches!(task.join(), Err(Failed::Closed)));
    });
    assert_eq!(log.borrow().join(" "), "dropped");
}

#[test]
fn a_closed_task_cannot_wait_while_it_unwinds() {
    struct Waits(Log);
    impl Drop for Waits {
        fn drop(&mut self) {
            yield_now();
            let error = wait_any(&[], soon()).expect_err("unwinding");
            note(&self.0, error.to_string());
        }
    }
    let log = Log::default();
    run(|| {
        let inner = log.clone();
        let task = spawn(move || {
            let _waits = Waits(inner);
            forever()
        });
        yield_now();
        task.close();
    });
    assert_eq!(log.borrow().join(" "), "a task that unwinds cannot wait");
}

#[test]
fn a_closed_task_wakes_the_task_that_waits_for_its_end() {
    run(|| {
        let victim = Rc::new(spawn(|| sleep(Duration::from_hours(1))));
        let watched = victim.clone();
        let watcher = spawn(move || wait(watched.done(), late()).is_ok());
        yield_now();
        victim.close();
        assert!(watcher.join().expect("no panic"));
    });
}

#[test]
fn unfinished_tasks_are_closed_when_main_returns_or_panics() {
    for panics in [false, true] {
        let log = Log::default();
        let inner = log.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            run(|| {
                spawn(move || {
                    let _finally = Finally(inner, "finally");
                    forever()
                });
                yield_now();
                assert!(!panics, "as the test wants");
            });
        }));
        assert_eq!(result.is_err(), panics);
        assert_eq!(log.borrow().join(" "), "finally");
    }
}

#[test]
fn a_panic_while_a_task_unwinds_reaches_the_caller_of_close() {
    run(|| {
        let task = spawn(|| {
            let unwound = catch_unwind(|| forever().is_ok());
            assert!(unwound.is_ok(), "disturbed");
        });
        yield_now();
        let result = catch_unwind(AssertUnwindSafe(|| task.close()));
        assert_eq!(said(&*result.expect_err("it panicked")), "disturbed");
        assert!(task.is_finished());
    });
}

#[test]
#[should_panic(expected = "scheduler::run inside of scheduler::run")]
fn schedulers_do_not_nest() {
    run(|| {
        if let Err(Failed::Panicked(payload)) = spawn(|| run(|| ())).join() {
            resume_unwind(payload);
        }
    });
}

#[test]
fn a_thread_can_run_again_after_a_run_that_panicked() {
    catch_unwind(|| run(|| -> () { panic!("on purpose") })).expect_err("it panicked");
    assert_eq!(run(|| spawn(|| 1).join().expect("no panic")), 1);
}

#[test]
fn a_thread_can_run_again_after_a_run_that_left_tasks_in_line() {
    for _ in 0..3 {
        let sum = run(|| {
            let mut spinners = Vec::new();
            for _ in 0..5 {
                spinners.push(spawn(|| {
                    loop {
                        yield_now();
                    }
                }));
            }
            yield_now();
            spinners[3].close();
            1 + spawn(|| 1).join().expect("no panic")
        });
        assert_eq!(sum, 2);
    }
}

#[test]
fn a_generator_may_wait_and_only_its_task_waits_with_it() {
    fn slowly(n: u32) -> Generator<(), u32, ()> {
        Generator::new(move |yielder| {
            for i in 0..n {
                sleep(Duration::from_millis(1));
                yield_now();
                yielder.suspend(i)?;
            }
            Ok(())
        })
    }
    run(|| {
        let mut tasks = Vec::new();
        for _ in 0..10 {
            tasks.push(spawn(|| slowly(5).sum::<u32>()));
        }
        assert_eq!(slowly(4).sum::<u32>(), 6); // main waits in one too
        for task in tasks {
            assert_eq!(task.join().expect("no panic"), 10);
        }
    });
}

#[test]
fn closing_a_task_that_waits_in_a_generator_unwinds_both_stacks() {
    let log = Log::default();
    run(|| {
        let (outer, inner) = (log.clone(), log.clone());
        let task = spawn(move || {
            let _finally = Finally(outer, "task");
            let mut generator: Generator<(), u32, ()> = Generator::new(move |yielder| {
                let _finally = Finally(inner, "generator");
                yielder.suspend(1)?;
                forever()?;
                Ok(())
            });
            generator.by_ref().count()
        });
        yield_now();
        task.close();
    });
    assert_eq!(log.borrow().join(" "), "generator task");
}

#[test]
fn thirty_thousand_wait_and_beyond_the_kernels_limit_is_an_error() {
    // In a process of its own: the limit is per process.
    let child = std::process::Command::new("/proc/self/exe")
        .args(["--exact", "coroutine::scheduler::tests::as_many_as_the_kernel_allows"])
        .args(["--ignored", "--nocapture"])
        .output()
        .expect("we run");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("vm.max_map_count"), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by the test above"]
fn as_many_as_the_kernel_allows() {
    run(|| {
        let gate = Rc::new(Event::new());
        let mut tasks = Vec::new();
        let error = loop {
            let gate = gate.clone();
            match try_spawn(move || gate.wait()) {
                Ok(task) => tasks.push(task),
                Err(error) => break error,
            }
            // This machine has a higher limit, or none.
            if tasks.len() == 200_000 {
                break io::Error::other("vm.max_map_count is out of reach");
            }
        };
        yield_now();
        assert!(tasks.len() >= 30_000, "{error}");
        println!("{error}");
        gate.set();
        for task in tasks {
            task.join().expect("no panic").expect("released");
        }
    });
}

#[test]
fn a_task_that_outgrows_its_stack_ends_the_program_at_the_guard_page() {
    let child = std::process::Command::new("/proc/self/exe")
        .args(["--exact", "coroutine::scheduler::tests::outgrow_the_stack", "--ignored"])
        .env("OUTGROW_THE_STACK", "yes")
        .output()
        .expect("we run");
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV), "{child:?}");
}

#[test]
#[ignore = "run by the test above"]
fn outgrow_the_stack() {
    fn deep(levels: usize) -> usize {
        let frame = std::hint::black_box([levels; 64]);
        if levels == 0 { 0 } else { deep(levels - 1) + frame[63] }
    }
    if std::env::var_os("OUTGROW_THE_STACK").is_some() {
        let sum = run(|| spawn(|| deep(STACK)).join());
        println!("{}", sum.expect("no panic"));
    }
}

#[test]
fn a_task_that_closes_itself_ends_where_it_waits_next() {
    let log = Log::default();
    run(|| {
        let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let (own, inner) = (slot.clone(), log.clone());
        slot.replace(Some(spawn(move || {
            let _finally = Finally(inner.clone(), "finally");
            own.borrow().as_ref().expect("set by main").close();
            note(&inner, "goes on");
            yield_now();
            note(&inner, "never");
        })));
        yield_now();
        let task = slot.take().expect("set above");
        assert!(matches!(task.join(), Err(Failed::Closed)));
    });
    assert_eq!(logged(&log), "goes on finally");
}

#[test]
fn a_destructor_may_close_the_task_that_is_closing_it() {
    struct Closes(Rc<RefCell<Option<Task<()>>>>);
    impl Drop for Closes {
        fn drop(&mut self) {
            self.0.borrow().as_ref().expect("set by main").close();
        }
    }
    let log = Log::default();
    run(|| {
        let closer = Rc::default();
        let closes = Closes(Rc::clone(&closer));
        let victim = spawn(move || {
            let _closes = closes;
            forever()
        });
        let inner = log.clone();
        closer.replace(Some(spawn(move || {
            let _finally = Finally(inner.clone(), "finally");
            victim.close();
            assert!(victim.is_finished());
            note(&inner, "goes on");
            yield_now();
            note(&inner, "never");
        })));
        yield_now();
        yield_now();
        assert!(closer.borrow().as_ref().expect("set above").is_finished());
    });
    assert_eq!(logged(&log), "goes on finally");
}

#[test]
fn two_tasks_may_close_each_other_while_they_are_unwound() {
    struct Closes(Rc<RefCell<Option<Task<()>>>>);
    impl Drop for Closes {
        fn drop(&mut self) {
            self.0.borrow().as_ref().expect("set by main").close();
        }
    }
    run(|| {
        let slots: [Rc<RefCell<Option<Task<()>>>>; 2] = Default::default();
        for (own, other) in [(0, 1), (1, 0)] {
            let closes = Closes(slots[other].clone());
            slots[own].replace(Some(spawn(move || {
                let _closes = closes;
                sleep(Duration::from_hours(1));
            })));
        }
        yield_now();
        slots[0].borrow().as_ref().expect("set above").close();
        for slot in &slots {
            assert!(slot.borrow().as_ref().expect("set above").is_finished());
        }
    });
}

#[test]
fn a_panic_while_an_unstarted_task_is_dropped_reaches_the_caller_of_close() {
    run(|| {
        let explosive = Explosive("dropped");
        let task = spawn(move || drop(explosive));
        let result = catch_unwind(AssertUnwindSafe(|| task.close()));
        assert_eq!(said(&*result.expect_err("it panicked")), "dropped");
        assert!(task.is_finished());
        task.close();
        yield_now();
    });
}

#[test]
fn an_unused_result_may_panic_when_it_is_dropped() {
    run(|| {
        drop(spawn(|| Explosive("dropped")));
        drop(spawn(|| -> () { std::panic::panic_any(Explosive("payload")) }));
        yield_now();
        assert_eq!(spawn(|| 1).join().expect("no panic"), 1);
    });
}

#[test]
fn a_task_left_at_the_end_may_panic_when_it_is_closed() {
    let log = Log::default();
    let finally = Finally(log.clone(), "finally");
    run(|| {
        let explosive = Explosive("dropped");
        drop(spawn(move || drop(explosive)));
        drop(spawn(move || drop(finally)));
    });
    assert_eq!(logged(&log), "finally");
}

#[test]
fn a_task_that_catches_its_end_is_unwound_again() {
    run(|| {
        let task = spawn(|| {
            let caught = catch_unwind(forever).is_err();
            sleep(Duration::from_hours(1));
            caught
        });
        yield_now();
        task.close();
        assert!(matches!(task.join(), Err(Failed::Closed)));
    });
}

#[test]
fn a_task_that_never_ends_leaks_its_stack_and_blocks_no_other() {
    run(|| {
        let task = spawn(|| {
            loop {
                let _ = catch_unwind(yield_now);
            }
        });
        yield_now();
        task.close();
        assert!(matches!(task.join(), Err::<(), _>(Failed::Closed)));
        assert_eq!(spawn(|| 1).join().expect("no panic"), 1);
    });
}
