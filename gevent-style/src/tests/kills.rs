//! `kill`: it stays in effect, and it meets destructors, links, a stack that overflows.

use std::net::SocketAddr;

use super::*;

/// A listener that accepts no more connections: a client that connects waits.
fn hanging() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    #[expect(unsafe_code, reason = "listen")]
    // SAFETY: takes no pointer; a listener may be told again.
    let listens = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(listens, 0);
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(20));
    let room = std::iter::from_fn(|| connect().ok()).collect();
    (listener, address, room)
}

#[test]
fn a_killed_connect_does_not_try_the_next_address() {
    let error = greenlets(|| {
        let (_listener, full, _room) = hanging();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [full, good.local_addr().unwrap()];
        let task = greenlet::spawn(move || TcpStream::connect(&addresses[..]));
        thread::yield_now();
        task.kill();
        task.join().unwrap().unwrap_err()
    });
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
}

#[test]
fn a_killed_server_that_ignores_errors_serves_no_client() {
    let served = greenlets(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let task = greenlet::spawn(move || {
            let connections = listener.incoming().take(5);
            connections.flatten().count()
        });
        thread::yield_now();
        task.kill();
        let _client = TcpStream::connect(address).unwrap();
        task.join().unwrap()
    });
    assert_eq!(served, 0);
}

#[test]
fn a_killed_loop_that_ignores_errors_lets_others_run() {
    let ended = greenlets(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut near, _far) = streams();
        let theirs = stop.clone();
        let task = greenlet::spawn(move || {
            while !theirs.load(Ordering::SeqCst) {
                assert!(near.read(&mut [0]).is_err());
            }
        });
        thread::yield_now();
        task.kill();
        thread::sleep(Duration::from_millis(1));
        stop.store(true, Ordering::SeqCst);
        task.join().is_ok()
    });
    assert!(ended);
}

#[test]
fn a_loop_that_only_yields_can_be_killed() {
    let error = greenlets(|| {
        let task = greenlet::spawn(|| {
            loop {
                timeout::sleep(Duration::ZERO);
            }
        });
        thread::yield_now();
        task.kill();
        task.join().unwrap_err()
    });
    assert!(error.is::<GreenletExit>());
}

#[test]
fn a_kill_that_was_caught_stays() {
    let errors = greenlets(|| {
        let task = greenlet::spawn(|| {
            let wait = || Event::new().wait();
            [(); 2].map(|()| std::panic::catch_unwind(wait).unwrap_err().is::<GreenletExit>())
        });
        thread::yield_now();
        task.kill();
        task.join().unwrap()
    });
    assert_eq!(errors, [true; 2]);
}

#[test]
fn what_can_be_written_at_once_is_written_after_a_kill() {
    let bye = greenlets(|| {
        let (mut near, mut far) = streams();
        let task = greenlet::spawn(move || {
            assert!(near.read(&mut [0]).is_err());
            near.write_all(b"bye").unwrap();
        });
        thread::yield_now();
        task.kill();
        let mut bye = String::new();
        far.read_to_string(&mut bye).unwrap();
        task.join().unwrap();
        bye
    });
    assert_eq!(bye, "bye");
}

/// Does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_read_in_a_destructor_fails_at_once_in_a_killed_greenlet() {
    let error = greenlets(|| {
        let (mut near, _far) = streams();
        let error = Arc::new(Mutex::new(None));
        let theirs = error.clone();
        let task = greenlet::spawn(move || {
            let _last = OnDrop(move || {
                *theirs.lock().unwrap() = near.read(&mut [0]).unwrap_err().raw_os_error();
            });
            Event::new().wait();
        });
        thread::yield_now();
        task.kill();
        assert!(task.join().is_err());
        *error.lock().unwrap()
    });
    assert_eq!(error, Some(libc::ECANCELED));
}

const SENTENCE: &str = "cannot wait for another one";

#[test]
fn a_destructor_that_wants_a_lock_of_a_greenlet_ends_the_program() {
    aborts_apart("tests::kills::a_lock_in_a_destructor", SENTENCE);
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn a_lock_in_a_destructor() {
    greenlets(|| {
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let theirs = lock.clone();
        let task = greenlet::spawn(move || {
            let _last = OnDrop(move || drop(theirs.lock().unwrap()));
            Event::new().wait();
        });
        thread::yield_now();
        task.kill();
        let _ = task.join();
        drop(held);
    });
}

#[test]
fn a_destructor_that_waits_for_a_greenlet_ends_the_program() {
    aborts_apart("tests::kills::a_wait_in_a_destructor", SENTENCE);
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn a_wait_in_a_destructor() {
    greenlets(|| {
        let task = greenlet::spawn(move || {
            let _last = OnDrop(|| Event::new().wait());
            Event::new().wait();
        });
        thread::yield_now();
        task.kill();
        let _ = task.join();
    });
}

#[test]
fn a_destructor_that_reads_from_a_greenlet_while_it_panics_ends_the_program() {
    aborts_apart("tests::kills::a_read_in_a_destructor", SENTENCE);
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn a_read_in_a_destructor() {
    greenlets(|| {
        let (mut near, mut far) = streams();
        let task = greenlet::spawn(move || {
            let _last = OnDrop(move || drop(near.read(&mut [0])));
            resume_unwind(Box::new("on purpose"));
        });
        let _ = greenlet::spawn(move || far.write_all(b"!")).join();
        let _ = task.join();
    });
}

#[inline(never)]
fn recurse<const N: usize>(n: usize) -> usize {
    let frame = std::hint::black_box([n; N]);
    if n == 0 { frame[0] } else { recurse::<N>(n - 1) + frame[N - 1] }
}

#[test]
fn a_stack_that_overflows_ends_the_program() {
    for test in ["large_frames", "small_frames", "frames_in_the_main_greenlet"] {
        aborts_apart(&format!("tests::kills::{test}"), "has overflowed its stack");
    }
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn large_frames() {
    greenlets(|| drop(greenlet::spawn(|| recurse::<500>(1 << 20)).join()));
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn small_frames() {
    greenlets(|| drop(greenlet::spawn(|| recurse::<1>(1 << 24)).join()));
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn frames_in_the_main_greenlet() {
    greenlets(|| recurse::<100>(1 << 24));
}

#[test]
fn a_link_that_panics_does_not_keep_the_others_from_running() {
    let (called, joined) = greenlets(|| {
        let called = Arc::new(AtomicUsize::new(0));
        let task = greenlet::spawn(thread::yield_now);
        let (first, last) = (called.clone(), called.clone());
        task.link(move || _ = first.fetch_add(1, Ordering::SeqCst));
        task.link(|| resume_unwind(Box::new("on purpose")));
        task.link(move || _ = last.fetch_add(1, Ordering::SeqCst));
        let joined = task.join().is_ok();
        (called.load(Ordering::SeqCst), joined)
    });
    assert_eq!((called, joined), (2, true));
}
