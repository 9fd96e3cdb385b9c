//! `fork` in a greenlet, by itself and inside `Command`.

use std::os::unix::process::CommandExt;
use std::process;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::*;

#[expect(unsafe_code, reason = "fork")]
fn fork_here() -> Option<Pid> {
    // SAFETY: the child only calls what a child of a program with threads may call, and exits.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => None,
        ForkResult::Parent { child } => Some(child),
    }
}

#[expect(unsafe_code, reason = "_exit")]
fn exit_now(code: i32) -> ! {
    // SAFETY: takes no pointer.
    unsafe { libc::_exit(code) }
}

#[test]
fn a_child_runs_no_greenlet_of_its_parent() {
    succeeds_apart("tests::forks::runs_in_the_child");
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn runs_in_the_child() {
    let (said, us) = greenlets(|| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let other = greenlet::spawn(move || {
            write!(writer, "{}.", process::id()).unwrap();
            thread::sleep(Duration::from_millis(1));
            near.read_exact(&mut [0]).unwrap();
            write!(writer, "{}.", process::id()).unwrap();
        });
        let Some(child) = fork_here() else {
            // Each of these would be a switch in the parent.
            thread::sleep(Duration::from_millis(20));
            thread::yield_now();
            exit_now(0);
        };
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        // The hub of the parent still wakes all greenlets.
        thread::sleep(Duration::from_millis(1));
        far.write_all(b"!").unwrap();
        other.join().unwrap();
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        (said, process::id())
    });
    assert_eq!(said, format!("{us}.{us}."));
}

#[test]
fn a_child_ends_with_the_greenlet_that_forked() {
    succeeds_apart("tests::forks::a_child_that_returns");
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn a_child_that_returns() {
    let status = greenlets(|| {
        let task = greenlet::spawn(fork_here);
        let child = task.join().unwrap().unwrap();
        waitpid(child, None).unwrap()
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
}

#[test]
fn a_child_that_wants_a_hub_ends_with_a_sentence() {
    succeeds_apart("tests::forks::a_child_that_spawns");
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn a_child_that_spawns() {
    let status = greenlets(|| {
        let Some(child) = fork_here() else {
            Event::new().wait();
            exit_now(0);
        };
        waitpid(child, None).unwrap()
    });
    assert!(matches!(status, WaitStatus::Signaled(_, nix::sys::signal::SIGABRT, _)), "{status:?}");
}

#[test]
#[expect(unsafe_code, reason = "pre_exec")]
fn pre_exec_may_sleep() {
    let ok = greenlets(|| {
        let ticker = greenlet::spawn(|| {
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut command = Command::new("true");
        let before = || {
            thread::sleep(Duration::from_millis(5));
            Ok(())
        };
        // SAFETY: sleeping is all it does.
        let status = unsafe { command.pre_exec(before) }.status().unwrap();
        ticker.join().unwrap();
        status.success()
    });
    assert!(ok);
}
