//! What greenlets do: join, kill, time out, wait for each other.

use super::*;

#[test]
fn join_gives_the_result() {
    assert_eq!(greenlets(|| greenlet::spawn(|| 6 * 7).join().unwrap()), 42);
}

#[test]
fn a_panic_is_the_error_of_that_greenlet_only() {
    let (error, other) = greenlets(|| {
        let bad = greenlet::spawn(|| panic!("out of cheese"));
        let good = greenlet::spawn(|| 1);
        (bad.join().unwrap_err(), good.join().unwrap())
    });
    assert_eq!(error.downcast_ref(), Some(&"out of cheese"));
    assert_eq!(other, 1);
}

#[test]
fn a_panic_of_the_main_greenlet_goes_on_in_the_thread_that_runs_it() {
    let result = thread::spawn(|| greenlet::run(|| panic!("main"))).join();
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"main"));
}

#[test]
fn run_borrows_from_its_caller() {
    let mut seen = Vec::new();
    greenlet::run(|| seen.push(1));
    greenlet::run(|| greenlet::run(|| seen.push(2)));
    assert_eq!(seen, [1, 2]);
}

#[test]
fn a_new_greenlet_does_not_run_before_its_spawner_waits() {
    let order = greenlets(|| {
        let log = Log::default();
        let mut tasks = Vec::new();
        for name in ['1', '2', '3'] {
            let log = log.clone();
            tasks.push(greenlet::spawn(move || {
                log.push(name);
                thread::yield_now();
                log.push(name);
            }));
        }
        log.push('0');
        for task in tasks {
            task.join().unwrap();
        }
        log.text()
    });
    assert_eq!(order, "0123123");
}

#[test]
fn all_run_on_one_os_thread() {
    let threads = greenlets(|| {
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                greenlet::spawn(move || {
                    thread::sleep(Duration::from_millis(i % 5));
                    helpers::offload(|| ());
                    thread_id()
                })
            })
            .collect();
        let mut ids: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
        ids.dedup();
        ids.len()
    });
    assert_eq!(threads, 1);
}

#[test]
fn an_os_thread_can_spawn_and_join_too() {
    monkey::patch_all();
    let task = greenlet::spawn(|| thread::sleep(Duration::from_millis(1)));
    task.join().unwrap();
}

#[test]
fn a_blocked_read_of_a_killed_greenlet_fails() {
    let error = greenlets(|| {
        let (mut near, _far) = streams();
        let task = greenlet::spawn(move || near.read(&mut [0; 8]));
        thread::yield_now(); // now it waits
        task.kill();
        task.join().unwrap().unwrap_err()
    });
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
}

#[test]
fn a_kill_stays_until_the_greenlet_has_ended() {
    let errors = greenlets(|| {
        let (mut near, _far) = streams();
        let task = greenlet::spawn(move || {
            let mut buf = [0; 8];
            [(); 3].map(|()| near.read(&mut buf).unwrap_err().raw_os_error())
        });
        thread::yield_now();
        task.kill();
        task.join().unwrap()
    });
    assert_eq!(errors, [Some(libc::ECANCELED); 3]);
}

#[test]
fn a_kill_ends_a_sleep_early_and_is_reported_by_the_next_call() {
    let error = greenlets(|| {
        let (mut near, _far) = streams();
        let task = greenlet::spawn(move || {
            thread::sleep(2 * DEADLINE);
            near.read(&mut [0; 8])
        });
        thread::yield_now();
        task.kill();
        task.join().unwrap().unwrap_err()
    });
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
}

#[test]
fn a_greenlet_killed_before_it_starts_never_runs() {
    let (ran, error) = greenlets(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let task = greenlet::spawn({
            let ran = ran.clone();
            move || ran.store(true, Ordering::SeqCst)
        });
        task.kill();
        let error = task.join().unwrap_err();
        (ran.load(Ordering::SeqCst), error)
    });
    assert!(!ran);
    assert!(error.is::<GreenletExit>());
}

#[test]
fn a_kill_unwinds_our_own_waits_and_destructors_run() {
    struct Note(Arc<AtomicBool>);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (dropped, error) = greenlets(|| {
        let dropped = Arc::new(AtomicBool::new(false));
        let note = Note(dropped.clone());
        let task = greenlet::spawn(move || {
            let _note = note;
            timeout::sleep(2 * DEADLINE);
        });
        thread::yield_now();
        task.kill();
        let error = task.join().unwrap_err();
        (dropped.load(Ordering::SeqCst), error)
    });
    assert!(dropped);
    assert!(error.is::<GreenletExit>());
}

#[test]
fn a_lock_is_waited_for_despite_a_kill() {
    let (got, sum) = greenlets(|| {
        let lock = Arc::new(Mutex::new(1));
        let held = lock.lock().unwrap();
        let task = greenlet::spawn({
            let lock = lock.clone();
            move || {
                *lock.lock().unwrap() += 1;
                timeout::sleep(2 * DEADLINE);
            }
        });
        thread::yield_now();
        task.kill();
        thread::yield_now();
        let got = *held;
        drop(held);
        assert!(task.join().unwrap_err().is::<GreenletExit>());
        let sum = *lock.lock().unwrap();
        (got, sum)
    });
    assert_eq!((got, sum), (1, 2));
}

#[test]
fn with_timeout_cuts_a_read() {
    let (result, kind) = greenlets(|| {
        let (mut near, _far) = streams();
        let mut kind = None;
        let result = with_timeout(Duration::from_millis(1), || {
            kind = Some(near.read(&mut [0; 8]).unwrap_err().kind());
        });
        (result, kind)
    });
    assert_eq!(result, Err(Timeout));
    assert_eq!(kind, Some(io::ErrorKind::TimedOut));
}

#[test]
fn with_timeout_cuts_our_own_waits() {
    let result = greenlets(|| {
        let task = greenlet::spawn(|| timeout::sleep(2 * DEADLINE));
        with_timeout(Duration::from_millis(1), || task.join().is_ok())
    });
    assert_eq!(result, Err(Timeout));
}

#[test]
fn the_shorter_of_two_with_timeouts_ends_only_itself() {
    let result = greenlets(|| {
        with_timeout(2 * DEADLINE, || {
            with_timeout(Duration::from_millis(1), || timeout::sleep(2 * DEADLINE))
        })
    });
    assert_eq!(result, Ok(Err(Timeout)));
}

#[test]
fn an_outer_with_timeout_goes_through_an_inner_one() {
    let result = greenlets(|| {
        with_timeout(Duration::from_millis(1), || {
            with_timeout(2 * DEADLINE, || timeout::sleep(2 * DEADLINE))
        })
    });
    assert_eq!(result, Err(Timeout));
}

#[test]
fn joinall_waits_for_all_or_for_so_long() {
    let (all, in_time) = greenlets(|| {
        let short = [(); 3].map(|()| greenlet::spawn(|| timeout::sleep(Duration::ZERO)));
        let long = [greenlet::spawn(|| timeout::sleep(2 * DEADLINE))];
        let all = joinall(&short, None) && short.iter().all(Greenlet::ready);
        (all, joinall(&long, Some(Duration::from_millis(1))))
    });
    assert!(all);
    assert!(!in_time);
}

#[test]
fn iwait_gives_them_in_the_order_they_finish() {
    let order: Vec<usize> = greenlets(|| {
        let gates = [(); 3].map(|()| Event::new());
        let tasks = (0..3).map(|i| {
            let gate = gates[i].clone();
            greenlet::spawn(move || {
                gate.wait();
                i
            })
        });
        let mut finished = iwait(tasks.collect());
        [2, 0, 1]
            .map(|i| {
                gates[i].set();
                finished.next().unwrap().join().unwrap()
            })
            .into()
    });
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn in_time_with_timeout_gives_the_value_and_leaves_no_limit() {
    let result = greenlets(|| {
        let value = with_timeout(DEADLINE, || 7);
        timeout::sleep(Duration::from_millis(1));
        value
    });
    assert_eq!(result, Ok(7));
}

#[test]
fn a_panic_elsewhere_is_not_seen_as_one_of_ours() {
    // The destructor that blocks while unwinding must not let another greenlet run.
    struct BlockingDrop(TcpStream);
    impl Drop for BlockingDrop {
        fn drop(&mut self) {
            let _ = self.0.read(&mut [0; 8]);
        }
    }
    let panicking = greenlets(|| {
        let (near, mut far) = streams();
        let bad = greenlet::spawn(move || {
            let _guard = BlockingDrop(near);
            panic!("unwinding");
        });
        let watcher = greenlet::spawn(thread::panicking);
        let feeder = thread::spawn(move || far.write_all(b"go on"));
        assert!(bad.join().is_err());
        feeder.join().unwrap().unwrap();
        watcher.join().unwrap()
    });
    assert!(!panicking);
}

#[test]
fn offload_gives_back_value_and_panic() {
    let (value, panic) = greenlets(|| {
        let words = String::from("borrowed");
        let value = helpers::offload(|| words.len());
        let task = greenlet::spawn(|| helpers::offload(|| panic!("helper")));
        (value, task.join())
    });
    assert_eq!(value, 8);
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"helper"));
}

#[test]
fn more_jobs_than_helpers_are_all_done() {
    let sum: usize = greenlets(|| {
        let tasks: Vec<_> =
            (0..100).map(|i| greenlet::spawn(move || helpers::offload(|| i))).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum()
    });
    assert_eq!(sum, 4950);
}

#[test]
fn an_io_task_gets_its_turn_beside_two_that_only_yield() {
    let ok = greenlets(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let spinners: Vec<_> = (0..2)
            .map(|_| {
                let stop = stop.clone();
                greenlet::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                })
            })
            .collect();
        let (mut near, mut far) = streams();
        let reader = greenlet::spawn(move || near.read(&mut [0; 8]).unwrap());
        thread::spawn(move || far.write_all(b"!").unwrap());
        let n = reader.join().unwrap();
        stop.store(true, Ordering::SeqCst);
        spinners.into_iter().all(|task| task.join().is_ok()) && n == 1
    });
    assert!(ok);
}

#[test]
fn a_thousand_connections_at_once() {
    const MANY: usize = 1_000;
    let bytes = greenlets(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        lengthen_backlog(&listener);
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..MANY)
            .map(|_| {
                greenlet::spawn(move || {
                    let mut socket = TcpStream::connect(address).unwrap();
                    let mut all = Vec::new();
                    socket.read_to_end(&mut all).unwrap();
                    all.len()
                })
            })
            .collect();
        // No connection is answered before all are connected: so all of them wait at once.
        let sockets: Vec<_> = (0..MANY).map(|_| listener.accept().unwrap().0).collect();
        for mut socket in sockets {
            socket.write_all(b"page").unwrap();
        }
        clients.into_iter().map(|task| task.join().unwrap()).sum::<usize>()
    });
    assert_eq!(bytes, 4 * MANY);
}
