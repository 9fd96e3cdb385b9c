//! Processes that are started from the beginning, or by a fork server.

use std::fs;
use std::io;
use std::process::ExitCode;
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

#[allow(dead_code, reason = "each suite uses a part of it")]
#[path = "../src/multiprocessing/mod.rs"]
mod multiprocessing;
mod runner;

use multiprocessing::process::ProcessError;
use multiprocessing::start_methods::{Call, ForkServer, Spawned, freeze_support};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--multiprocessing-fork") {
        std::panic::set_hook(Box::new(|_| ())); // the panics are reported, and looked at
    }
    freeze_support();
    runner::main(&[
        ("results_come_back", results_come_back),
        ("a_panic_is_reported", a_panic_is_reported),
        ("a_kill_is_reported", a_kill_is_reported),
        ("they_start_beside_a_thread", they_start_beside_a_thread),
        ("dropped_they_are_gone", dropped_they_are_gone),
        ("a_dead_server_is_an_error", a_dead_server_is_an_error),
        ("a_server_takes_its_children_along", a_server_takes_its_children_along),
    ])
}

fn echo(n: u64) -> Call {
    Call::new("echo", n)
}

fn wait() -> Call {
    Call::new("wait", 0)
}

fn results_come_back() {
    let server = ForkServer::start().unwrap();
    let served: Vec<_> = (0..50).map(|n| server.spawn(&echo(n)).unwrap()).collect();
    let spawned: Vec<_> = (0..10).map(|n| Spawned::start(&echo(n)).unwrap()).collect();
    for (n, task) in served.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u64);
    }
    for (n, task) in spawned.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u64);
    }
    drop(server);
    assert_no_children();
}

fn a_panic_is_reported() {
    let server = ForkServer::start().unwrap();
    let nowhere = Call::new("nowhere", 0);
    for result in [server.spawn(&nowhere).unwrap().join(), Spawned::start(&nowhere).unwrap().join()]
    {
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "the process panicked: no function nowhere");
    }
    assert_eq!(server.spawn(&echo(5)).unwrap().join().unwrap(), 5);
}

fn a_kill_is_reported() {
    let server = ForkServer::start().unwrap();
    let served = server.spawn(&wait()).unwrap();
    kill(served.pid(), Signal::SIGKILL).unwrap();
    assert!(matches!(served.join(), Err(ProcessError::Killed(Signal::SIGKILL))));
    let spawned = Spawned::start(&wait()).unwrap();
    kill(spawned.pid(), Signal::SIGTERM).unwrap();
    assert!(matches!(spawned.join(), Err(ProcessError::Killed(Signal::SIGTERM))));
    drop(server);
    assert_no_children();
}

fn they_start_beside_a_thread() {
    let (gate, opens) = io::pipe().unwrap();
    let thread = thread::spawn(move || io::Read::read(&mut &gate, &mut [0]).unwrap());
    let server = ForkServer::start().unwrap();
    assert_eq!(server.spawn(&echo(1)).unwrap().join().unwrap(), 1);
    assert_eq!(Spawned::start(&echo(2)).unwrap().join().unwrap(), 2);
    drop(opens);
    thread.join().unwrap();
}

fn dropped_they_are_gone() {
    let server = ForkServer::start().unwrap();
    let served = server.spawn(&wait()).unwrap();
    let spawned = Spawned::start(&wait()).unwrap();
    let pids = [served.pid(), spawned.pid()];
    drop(served);
    drop(spawned);
    assert_eq!(pids.map(|pid| kill(pid, None)), [Err(Errno::ESRCH); 2]);
    drop(server);
    assert_no_children();
}

fn a_dead_server_is_an_error() {
    let server = ForkServer::start().unwrap();
    let served = server.spawn(&wait()).unwrap();
    kill(server.pid(), Signal::SIGKILL).unwrap();
    assert!(matches!(served.join(), Err(ProcessError::Io(_))));
    assert!(server.spawn(&echo(1)).is_err());
}

fn a_server_takes_its_children_along() {
    let server = ForkServer::start().unwrap();
    let served = server.spawn(&wait()).unwrap();
    let pid = served.pid();
    std::mem::forget(served);
    drop(server);
    while lives(pid) {
        thread::yield_now();
    }
}

/// A zombie does not live. Who reaps the children of the dead is none of our business.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn assert_no_children() {
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}
