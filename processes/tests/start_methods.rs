//! Processes that are started from the beginning, or by a fork server.

use std::fs;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, pause};

#[allow(dead_code, reason = "each suite uses a part of it")]
#[path = "../src/multiprocessing/mod.rs"]
mod multiprocessing;
mod runner;

use multiprocessing::answer::ProcessError;
use multiprocessing::child::End;
use multiprocessing::process;
use multiprocessing::start_methods::{Call, ForkServer, Functions, Spawned, freeze_support};

const FUNCTIONS: &Functions = &[
    ("echo", |n| n),
    ("wait", |_| {
        loop {
            pause();
        }
    }),
    ("real-time", die_of_a_real_time_signal),
    ("read", |_| io::stdin().lines().count() as u64),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--multiprocessing-fork") {
        std::panic::set_hook(Box::new(|_| ())); // the panics are reported, and looked at
    }
    freeze_support(FUNCTIONS);
    if std::env::args().nth(1).as_deref() == Some("parent-of-four") {
        return parent_of_four();
    }
    runner::main(&[
        ("results_come_back", results_come_back),
        ("a_panic_is_reported", a_panic_is_reported),
        ("a_kill_is_reported", a_kill_is_reported),
        ("they_start_beside_a_thread", they_start_beside_a_thread),
        ("dropped_they_are_gone", dropped_they_are_gone),
        ("a_dead_server_is_an_error", a_dead_server_is_an_error),
        ("a_server_takes_its_children_along", a_server_takes_its_children_along),
        ("they_outlive_the_thread_that_started_them", they_outlive_the_thread_that_started_them),
        ("all_are_gone_with_their_parent", all_are_gone_with_their_parent),
        ("several_threads_use_one_server", several_threads_use_one_server),
        ("a_real_time_signal_is_reported", a_real_time_signal_is_reported),
        ("a_result_survives_its_server", a_result_survives_its_server),
        ("a_server_belongs_to_its_process", a_server_belongs_to_its_process),
        ("a_servers_limit_is_named", a_servers_limit_is_named),
        (
            "results_come_back_though_nobody_tells_of_an_end",
            results_come_back_though_nobody_tells_of_an_end,
        ),
        ("standard_input_is_empty", standard_input_is_empty),
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
    assert!(matches!(served.join(), Err(ProcessError::Ended(End::Killed(libc::SIGKILL)))));
    let spawned = Spawned::start(&wait()).unwrap();
    kill(spawned.pid(), Signal::SIGTERM).unwrap();
    assert!(matches!(spawned.join(), Err(ProcessError::Ended(End::Killed(libc::SIGTERM)))));
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

fn they_outlive_the_thread_that_started_them() {
    let start = || (ForkServer::start().unwrap(), Spawned::start(&wait()).unwrap());
    let (server, spawned) = thread::spawn(start).join().unwrap();
    wait_until_waiting(spawned.pid());
    let served =
        thread::scope(|scope| scope.spawn(|| server.spawn(&wait()).unwrap()).join().unwrap());
    // A signal for the end of a thread would have come by now: it is sent before the join returns.
    assert_eq!(server.spawn(&echo(5)).unwrap().join().unwrap(), 5);
    assert!(lives(spawned.pid()) && lives(served.pid()) && lives(server.pid()));
}

fn all_are_gone_with_their_parent() {
    for how in ["from-main", "from-a-thread"] {
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["parent-of-four", how])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = io::BufReader::new(parent.stdout.take().unwrap());
        let lines = io::BufRead::lines(said).take(4).map(Result::unwrap);
        let pids: Vec<Pid> =
            lines.map(|line| Pid::from_raw(line.parse().expect("a number"))).collect();
        assert!(pids.len() == 4 && pids.iter().all(|pid| lives(*pid)), "{how}");
        parent.kill().unwrap();
        parent.wait().unwrap();
        for pid in pids {
            while lives(pid) {
                thread::yield_now();
            }
        }
    }
}

/// A server, its child, a spawned process, and a stopped process.
fn parent_of_four() -> ExitCode {
    let start = || {
        let spawned = [Spawned::start(&wait()).unwrap(), Spawned::start(&wait()).unwrap()];
        (ForkServer::start().unwrap(), spawned)
    };
    let (server, spawned) = match std::env::args().nth(2).as_deref() {
        Some("from-a-thread") => thread::spawn(start).join().unwrap(),
        _ => start(),
    };
    let served = server.spawn(&wait()).unwrap();
    // Another process has copies of all ends, for as long as its parent runs.
    let _sibling = process::spawn(pause);
    wait_until_waiting(spawned[0].pid());
    wait_until_waiting(spawned[1].pid());
    kill(spawned[1].pid(), Signal::SIGSTOP).unwrap();
    for pid in [server.pid(), served.pid(), spawned[0].pid(), spawned[1].pid()] {
        println!("{pid}");
    }
    pause();
    ExitCode::SUCCESS
}

/// Returns when a process is in `pause`, or stopped.
fn wait_until_waiting(pid: Pid) {
    let waits = format!("{} ", libc::SYS_pause);
    while !fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap().starts_with(&waits) {
        thread::yield_now();
    }
}

fn several_threads_use_one_server() {
    let server = ForkServer::start().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for n in 0..100 {
                    let n = thread * 1_000 + n;
                    assert_eq!(server.spawn(&echo(n)).unwrap().join().unwrap(), n);
                }
            });
        }
        // A slow call does not delay the others.
        scope.spawn(|| {
            let served = server.spawn(&wait()).unwrap();
            kill(served.pid(), Signal::SIGKILL).unwrap();
            assert!(served.join().is_err());
        });
    });
}

#[expect(unsafe_code, reason = "nix raises no real-time signals")]
fn die_of_a_real_time_signal(n: u64) -> u64 {
    // SAFETY: the signal's default action ends the process.
    unsafe { libc::raise(libc::SIGRTMIN() + 1) };
    n
}

fn a_real_time_signal_is_reported() {
    let server = ForkServer::start().unwrap();
    let other = server.spawn(&wait()).unwrap();
    let call = Call::new("real-time", 0);
    for result in [server.spawn(&call).unwrap().join(), Spawned::start(&call).unwrap().join()] {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("the process was killed by real-time signal"), "{error}");
    }
    assert!(lives(other.pid()));
    assert_eq!(server.spawn(&echo(5)).unwrap().join().unwrap(), 5);
}

fn a_result_survives_its_server() {
    let server = ForkServer::start().unwrap();
    let served = server.spawn(&echo(5)).unwrap();
    while lives(served.pid()) {
        thread::yield_now();
    }
    kill(server.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(served.join().unwrap(), 5);
}

fn a_server_belongs_to_its_process() {
    let server = ForkServer::start().unwrap();
    let mut served = Some(server.spawn(&echo(5)).unwrap());
    let said = process::spawn(|| {
        let spawned = server.spawn(&echo(6)).map(drop).unwrap_err().to_string();
        (spawned, served.take().unwrap().join().unwrap_err().to_string())
    });
    let (spawned, joined) = said.join().unwrap();
    assert!(spawned.contains("it belongs to process"), "{spawned}");
    assert!(joined.contains("it belongs to process"), "{joined}");
    assert_eq!(served.unwrap().join().unwrap(), 5);
    assert_eq!(server.spawn(&echo(7)).unwrap().join().unwrap(), 7);
}

fn a_servers_limit_is_named() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 24, hard).unwrap(); // which the server inherits
    let server = ForkServer::start();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let server = server.unwrap();
    let mut served = Vec::new();
    let error = loop {
        match server.spawn(&wait()) {
            Ok(one) => served.push(one),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("fork server") && error.contains("ulimit -n"), "{error}");
    assert!(served.len() > 5 && served.iter().all(|one| lives(one.pid())));
    drop(served);
    assert_eq!(server.spawn(&echo(5)).unwrap().join().unwrap(), 5);

    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    let errors = [
        ForkServer::start().map(drop),
        Spawned::start(&echo(1)).map(drop),
        server.spawn(&echo(1)).map(drop),
    ];
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    for error in errors {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("ulimit -n"), "{error}");
    }
    assert_eq!(server.spawn(&echo(5)).unwrap().join().unwrap(), 5);
}

#[expect(unsafe_code, reason = "a signal is ignored")]
fn results_come_back_though_nobody_tells_of_an_end() {
    // SAFETY: neither ignoring a signal nor its default action runs any code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn).unwrap() };
    results_come_back();
    let server = ForkServer::start().unwrap();
    let served = server.spawn(&wait()).unwrap();
    kill(served.pid(), Signal::SIGTERM).unwrap();
    let error = served.join().unwrap_err().to_string();
    // SAFETY: as above.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl).unwrap() };
    assert_eq!(error, "the process was killed by SIGTERM"); // its own parent is told
}

fn standard_input_is_empty() {
    let read = Call::new("read", 0);
    assert_eq!(Spawned::start(&read).unwrap().join().unwrap(), 0);
    let server = ForkServer::start().unwrap();
    assert_eq!(server.spawn(&read).unwrap().join().unwrap(), 0);
}

/// A zombie does not run. How the children of the dead process are reaped does not matter.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn assert_no_children() {
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}
