//! `with_timeout`: what it ends and what it does not.

use std::time::Instant;

use super::*;
use crate::gevent::queue::Queue;

const SHORT: Duration = Duration::from_millis(5);

/// Computes until that time is over.
fn compute_until(end: Instant) {
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn an_item_that_came_in_time_is_not_lost() {
    let got = greenlets(|| {
        let queue = Queue::new();
        let theirs = queue.clone();
        let late = Instant::now() + 4 * SHORT;
        greenlet::spawn(move || {
            theirs.put(7);
            compute_until(late);
        });
        with_timeout(SHORT, || queue.get())
    });
    assert_eq!(got, Ok(7));
}

#[test]
fn data_read_in_time_is_not_lost() {
    let got = greenlets(|| {
        let (mut near, mut far) = streams();
        let late = Instant::now() + 4 * SHORT;
        greenlet::spawn(move || {
            far.write_all(b"hi").unwrap();
            compute_until(late);
        });
        let mut buf = [0; 2];
        with_timeout(SHORT, || near.read_exact(&mut buf).map(|()| buf)).map(Result::unwrap)
    });
    assert_eq!(got, Ok(*b"hi"));
}

#[test]
fn a_computation_that_takes_too_long_has_its_result() {
    let got = greenlets(|| with_timeout(SHORT, || compute_until(Instant::now() + 2 * SHORT)));
    assert_eq!(got, Ok(()));
}

#[test]
fn a_loop_that_only_yields_is_cut() {
    let got: Result<(), _> = greenlets(|| {
        with_timeout(SHORT, || {
            loop {
                timeout::sleep(Duration::ZERO);
            }
        })
    });
    assert_eq!(got, Err(Timeout));
}

#[test]
fn an_inner_one_that_was_cut_does_not_cut_the_outer_one() {
    let got = greenlets(|| {
        with_timeout(DEADLINE, || {
            let inner = with_timeout(SHORT, || timeout::sleep(2 * DEADLINE));
            timeout::sleep(Duration::from_millis(1));
            inner
        })
    });
    assert_eq!(got, Ok(Err(Timeout)));
}

#[test]
fn an_outer_one_cuts_what_an_inner_one_ignores() {
    let got = greenlets(|| {
        let (mut near, _far) = streams();
        with_timeout(SHORT, || with_timeout(DEADLINE, || near.read(&mut [0]).is_err()))
    });
    assert_eq!(got, Err(Timeout));
}

#[test]
#[should_panic = "is for greenlets"]
fn an_os_thread_is_told_that_it_is_of_no_use() {
    let _ = with_timeout(SHORT, || ());
}

#[test]
fn a_command_is_cut_without_a_panic() {
    let output = apart("tests::timeouts::commands_that_take_too_long");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn commands_that_take_too_long() {
    let cut = greenlets(|| {
        let mut cut = Vec::new();
        let slow = || Command::new("sh").args(["-c", "echo begun; sleep 1"]).output().is_ok();
        cut.push(with_timeout(SHORT, slow));
        let slow = || Command::new("sleep").arg("1").stderr(Stdio::null()).output().is_ok();
        cut.push(with_timeout(SHORT, slow));
        let slow = || Command::new("sleep").arg("1").status().is_ok();
        cut.push(with_timeout(SHORT, slow));
        cut
    });
    assert_eq!(cut, [Err(Timeout); 3]);
    let error = greenlets(|| {
        let task = greenlet::spawn(|| Command::new("sleep").arg("1").output().is_ok());
        thread::sleep(SHORT);
        task.kill();
        task.join().unwrap_err()
    });
    assert!(error.is::<GreenletExit>());
}
