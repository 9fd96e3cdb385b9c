//! What scheduler.rs promises, a test each.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::coroutine::generators::Generator;

/// What the tasks of a test did, in order.
type Log = Rc<RefCell<Vec<String>>>;

/// Writes when it is dropped.
struct Finally(Log, &'static str);

impl Drop for Finally {
    fn drop(&mut self) {
        note(&self.0, self.1);
    }
}

fn note(log: &Log, what: impl Into<String>) {
    log.borrow_mut().push(what.into());
}

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().expect("a socket pair");
    a.set_nonblocking(true).expect("nonblocking");
    b.set_nonblocking(true).expect("nonblocking");
    (a, b)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(2)
}

fn net() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

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
fn a_wait_ends_when_the_source_is_ready() {
    run(|| {
        let (mut here, mut there) = pair();
        let reader = spawn(move || {
            wait(readable(&here), net())?;
            let mut buf = [0; 8];
            let n = here.read(&mut buf)?;
            io::Result::Ok(buf[..n].to_vec())
        });
        yield_now();
        assert!(!reader.is_finished());
        there.write_all(b"hello").expect("room in the buffer");
        let read = reader.join().expect("no panic").expect("no error");
        assert_eq!(read, b"hello");
    });
}

#[test]
fn a_wait_ends_at_its_deadline_and_the_descriptor_can_be_waited_for_again() {
    run(|| {
        let (here, mut there) = pair();
        for _ in 0..3 {
            let error = wait(readable(&here), soon()).expect_err("nothing was sent");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        there.write_all(b"x").expect("room in the buffer");
        wait(readable(&here), net()).expect("something was sent");
    });
}

#[test]
fn what_is_ready_at_a_deadline_that_has_passed_counts_as_ready() {
    run(|| {
        let (here, _there) = pair();
        wait(writable(&here), Instant::now()).expect("there is room");
    });
}

#[test]
fn waiting_for_several_sources_says_which() {
    run(|| {
        let (a, mut to_a) = pair();
        let (b, mut to_b) = pair();
        let event = Rc::new(Event::new());
        let either =
            |deadline| wait_any(&[readable(&a), readable(&b), Source::Event(&event)], deadline);
        to_b.write_all(b"x").expect("room in the buffer");
        assert_eq!(either(net()).expect("b"), 1);
        to_a.write_all(b"x").expect("room in the buffer");
        (&b).read_exact(&mut [0]).expect("it was sent");
        assert_eq!(either(net()).expect("a"), 0);
        (&a).read_exact(&mut [0]).expect("it was sent");
        assert_eq!(either(soon()).expect_err("none").kind(), io::ErrorKind::TimedOut);
        let setter = event.clone();
        spawn(move || setter.set());
        assert_eq!(either(net()).expect("the event"), 2);
    });
}

#[test]
fn a_reader_and_a_writer_wait_for_one_socket() {
    run(|| {
        let (here, there) = pair();
        while (&here).write(&[0; 4096]).is_ok() {}
        let here = Rc::new(here);
        let (for_reader, for_writer) = (here.clone(), here);
        let reader = spawn(move || wait(readable(&*for_reader), net()).is_ok());
        let writer = spawn(move || wait(writable(&*for_writer), net()).is_ok());
        yield_now();
        while (&there).read(&mut [0; 4096]).is_ok() {}
        assert!(writer.join().expect("no panic"));
        assert!(!reader.is_finished());
        (&there).write_all(b"x").expect("room in the buffer");
        assert!(reader.join().expect("no panic"));
    });
}

#[test]
fn many_wait_for_one_descriptor_and_all_wake_at_its_end() {
    run(|| {
        let (stop, stopper) = pair();
        let stop = Rc::new(stop);
        let mut tasks = Vec::new();
        for _ in 0..1000 {
            let stop = stop.clone();
            tasks.push(spawn(move || wait(readable(&*stop), net())));
        }
        yield_now();
        drop(stopper);
        for task in tasks {
            task.join().expect("no panic").expect("woken");
        }
    });
}

#[test]
fn a_descriptor_that_is_closed_and_reused_is_another_descriptor() {
    run(|| {
        for _ in 0..50 {
            let (here, mut there) = pair();
            let copy = here.try_clone().expect("a descriptor");
            wait(readable(&here), Instant::now()).expect_err("nothing was sent");
            drop(here);
            let (new, _other) = pair();
            there.write_all(b"x").expect("room in the buffer");
            wait(readable(&new), Instant::now()).expect_err("sent to the old one");
            wait(readable(&copy), net()).expect("sent to this one");
        }
    });
}

#[test]
fn a_file_cannot_be_waited_for() {
    run(|| {
        let file = std::fs::File::open("/proc/self/exe").expect("we run");
        let error = wait(readable(&file), net()).expect_err("epoll takes no files");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn connect_reaches_a_listener() {
    run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let server = spawn(move || {
            wait(readable(&listener), net())?;
            listener.accept()?.0.write_all(b"hi")
        });
        let mut socket = connect(address, net()).expect("it listens");
        wait(readable(&socket), net()).expect("an answer");
        let mut buf = [0; 2];
        socket.read_exact(&mut buf).expect("an answer");
        assert_eq!(&buf, b"hi");
        server.join().expect("no panic").expect("no error");
    });
}

#[test]
fn connect_to_a_port_that_nobody_listens_on_is_refused() {
    let address = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.local_addr().expect("bound")
    };
    let error = run(|| connect(address, net())).expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
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
            park()
        });
        yield_now();
        task.close();
    });
    assert_eq!(log.borrow().join(" "), "a task that unwinds cannot wait");
}

#[test]
fn a_closed_task_wakes_whoever_waits_for_its_end() {
    run(|| {
        let victim = Rc::new(spawn(|| sleep(Duration::from_hours(1))));
        let watched = victim.clone();
        let watcher = spawn(move || wait(watched.done(), net()).is_ok());
        yield_now();
        victim.close();
        assert!(watcher.join().expect("no panic"));
    });
}

#[test]
fn what_is_unfinished_is_closed_when_main_returns_or_panics() {
    for panics in [false, true] {
        let log = Log::default();
        let inner = log.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            run(|| {
                spawn(move || {
                    let _finally = Finally(inner, "finally");
                    park()
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
fn a_task_that_panics_while_it_unwinds_hands_that_to_who_closes_it() {
    run(|| {
        let task = spawn(|| {
            let unwound = catch_unwind(|| park().is_ok());
            assert!(unwound.is_ok(), "disturbed");
        });
        yield_now();
        let result = catch_unwind(AssertUnwindSafe(|| task.close()));
        assert_eq!(said(&*result.expect_err("it panicked")), "disturbed");
        assert!(task.is_finished());
    });
}

#[test]
#[should_panic(expected = "a task cannot close itself")]
fn a_task_cannot_close_itself() {
    run(|| {
        let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let inner = slot.clone();
        let task = spawn(move || inner.borrow().as_ref().expect("set by main").close());
        slot.replace(Some(task));
        yield_now();
        let task = slot.take().expect("set above");
        if let Err(Failed::Panicked(payload)) = task.join() {
            resume_unwind(payload);
        }
    });
}

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
        let error = park().expect_err("nobody is left to wake main");
        assert_eq!(error.kind(), io::ErrorKind::Deadlock);
    });
}

#[test]
fn unpark_before_park_is_not_lost_and_wakes_no_other_wait() {
    run(|| {
        current().unpark();
        park().expect("unparked before");
        let task = spawn(|| {
            let error = wait_any(&[], soon()).expect_err("a deadline only");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            park()
        });
        yield_now();
        task.handle().unpark();
        task.join().expect("no panic").expect("unparked before");
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
            park()
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
fn sockets_are_served_while_others_only_take_turns() {
    run(|| {
        let (here, mut there) = pair();
        let stop = Rc::new(Event::new());
        let seen = stop.clone();
        let spinner = spawn(move || {
            while !seen.is_set() {
                yield_now();
            }
        });
        let reader = spawn(move || wait(readable(&here), net()));
        yield_now();
        there.write_all(b"x").expect("room in the buffer");
        reader.join().expect("no panic").expect("served");
        stop.set();
        spinner.join().expect("no panic");
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
            current().unpark();
            1 + spawn(|| 1).join().expect("no panic")
        });
        assert_eq!(sum, 2);
    }
    let error = run(park).expect_err("unparked in another run");
    assert_eq!(error.kind(), io::ErrorKind::Deadlock);
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
                park()?;
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
fn stacks_are_used_again() {
    run(|| {
        spawn(|| ()).join().expect("no panic");
        let before = STACKS.with_borrow(Vec::len);
        spawn(|| ()).join().expect("no panic");
        assert_eq!(STACKS.with_borrow(Vec::len), before);
        assert!(before >= 1);
    });
}

#[test]
fn thirty_thousand_wait_and_beyond_the_kernels_limit_is_an_error() {
    // In a process of its own: the limit is on a whole process.
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
            // A machine with a higher limit, or none.
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
