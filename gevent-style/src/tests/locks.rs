//! Locks of std and of crates, in cases that are not in the table of the README.

use super::*;

#[test]
fn a_reader_behind_a_writer_that_waits() {
    let seen = greenlets(|| {
        let lock = Arc::new(RwLock::new(0));
        let held = lock.write().unwrap();
        let (theirs, readers) = (lock.clone(), lock.clone());
        let writer = greenlet::spawn(move || *theirs.write().unwrap() += 1);
        thread::yield_now();
        let reader = greenlet::spawn(move || *readers.read().unwrap());
        thread::yield_now();
        drop(held);
        writer.join().unwrap();
        reader.join().unwrap()
    });
    assert!(seen <= 1);
}

#[test]
fn many_readers_and_writers_of_one_lock() {
    let sum = greenlets(|| {
        let lock = Arc::new(RwLock::new(0));
        let tasks: Vec<_> = (0..60)
            .map(|i| {
                let lock = lock.clone();
                greenlet::spawn(move || {
                    for _ in 0..20 {
                        if i % 3 == 0 {
                            let mut held = lock.write().unwrap();
                            thread::yield_now();
                            *held += 1;
                        } else {
                            let held = lock.read().unwrap();
                            thread::yield_now();
                            assert!(*held <= 400);
                        }
                    }
                })
            })
            .collect();
        assert!(tasks.into_iter().all(|task| task.join().is_ok()));
        *lock.read().unwrap()
    });
    assert_eq!(sum, 400);
}

#[test]
fn a_thread_pool_of_a_crate_gives_each_greenlet_its_own_answer() {
    succeeds_apart("tests::locks::rayon_from_many_greenlets");
}

/// rayon keeps the lock on which a caller waits in a `thread_local!`.
#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn rayon_from_many_greenlets() {
    let right = greenlets(|| {
        let tasks: Vec<_> = (0..20_u64)
            .map(|i| {
                greenlet::spawn(move || {
                    (0..10).all(|_| {
                        let mut sum = 0;
                        rayon::scope(|scope| scope.spawn(|_| sum = (0..=i).sum()));
                        thread::yield_now();
                        sum == i * (i + 1) / 2
                    })
                })
            })
            .collect();
        tasks.into_iter().all(|task| task.join().unwrap())
    });
    assert!(right);
}

#[test]
fn a_wait_for_a_lock_in_a_thread_local_really_blocks() {
    thread_local!(static PAIR: (Mutex<bool>, Condvar) = const { (Mutex::new(false), Condvar::new()) });
    // If two greenlets both waited in it, that would be one thread waiting twice.
    let timed_out = greenlets(|| {
        let other = greenlet::spawn(|| ());
        let timed_out = PAIR.with(|(flag, changed)| {
            let wait = changed.wait_timeout(flag.lock().unwrap(), Duration::from_millis(1));
            wait.unwrap().1.timed_out()
        });
        let still_to_run = !other.ready();
        other.join().unwrap();
        timed_out && still_to_run
    });
    assert!(timed_out);
}
