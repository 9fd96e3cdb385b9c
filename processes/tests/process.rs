//! What `process::spawn` promises, tried from a `main` of one thread.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, pause};

#[allow(dead_code, reason = "each suite uses a part of it")]
#[path = "../src/multiprocessing/mod.rs"]
mod multiprocessing;
mod runner;

use multiprocessing::child::Child;
use multiprocessing::connection::{Frames, to_frame};
use multiprocessing::process::{self, Process, ProcessError};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("prints-before-it-forks") => prints_before_it_forks(),
        Some("parent-of-three") => parent_of_three(),
        _ => runner::main(&[
            ("a_result_comes_back", a_result_comes_back),
            (
                "the_closure_may_borrow_and_works_on_a_copy",
                the_closure_may_borrow_and_works_on_a_copy,
            ),
            ("a_panic_is_the_error_of_its_task", a_panic_is_the_error_of_its_task),
            ("an_exit_is_the_error_of_its_task", an_exit_is_the_error_of_its_task),
            ("a_kill_is_the_error_of_its_task", a_kill_is_the_error_of_its_task),
            ("a_result_that_is_no_json_is_an_error", a_result_that_is_no_json_is_an_error),
            (
                "results_larger_than_a_pipe_are_joined_in_order",
                results_larger_than_a_pipe_are_joined_in_order,
            ),
            ("a_result_does_not_wait_for_a_grandchild", a_result_does_not_wait_for_a_grandchild),
            ("a_death_does_not_wait_for_a_grandchild", a_death_does_not_wait_for_a_grandchild),
            ("a_death_does_not_wait_for_siblings", a_death_does_not_wait_for_siblings),
            ("five_hundred_wait_at_once", five_hundred_wait_at_once),
            ("the_first_of_many_is_seen_by_poll", the_first_of_many_is_seen_by_poll),
            ("stop_continue_kill", stop_continue_kill),
            ("is_finished_leaves_the_result", is_finished_leaves_the_result),
            ("a_dropped_process_is_gone", a_dropped_process_is_gone),
            ("a_copy_of_a_handle_kills_nobody", a_copy_of_a_handle_kills_nobody),
            ("no_descriptor_left_is_a_sentence", no_descriptor_left_is_a_sentence),
            ("fork_beside_a_thread_panics", fork_beside_a_thread_panics),
            ("a_joined_thread_is_no_obstacle", a_joined_thread_is_no_obstacle),
            ("buffered_output_is_printed_once", buffered_output_is_printed_once),
            ("children_die_with_their_parent", children_die_with_their_parent),
            ("frames_survive_any_split", frames_survive_any_split),
        ]),
    }
}

fn a_result_comes_back() {
    let tasks: Vec<_> = (0..5).map(|n| process::spawn(move || (n, format!("task {n}")))).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), (n, format!("task {n}")));
    }
    assert_no_children();
}

fn the_closure_may_borrow_and_works_on_a_copy() {
    let balance = Cell::new(100);
    let task = process::spawn(|| {
        balance.set(balance.get() - 1);
        balance.get()
    });
    assert_eq!(task.join().unwrap(), 99);
    assert_eq!(balance.get(), 100);
}

fn a_panic_is_the_error_of_its_task() {
    let error = quietly(|| panic!("no page {}", 7)).join().unwrap_err();
    assert_eq!(error.to_string(), "the process panicked: no page 7");
    assert_no_children();
}

fn an_exit_is_the_error_of_its_task() {
    let error = process::spawn(|| -> () { std::process::exit(3) }).join().unwrap_err();
    assert!(matches!(error, ProcessError::Exited(3)), "{error}");
    assert_no_children();
}

fn a_kill_is_the_error_of_its_task() {
    let task = process::spawn(pause);
    task.kill(Signal::SIGKILL).unwrap();
    let error = task.join().unwrap_err();
    assert_eq!(error.to_string(), "the process was killed by SIGKILL");

    // SIGTERM ends a child even if its parent has made other arrangements for itself.
    let task = process::spawn(pause);
    task.kill(Signal::SIGTERM).unwrap();
    let error = task.join().unwrap_err();
    assert!(matches!(error, ProcessError::Killed(Signal::SIGTERM)), "{error}");
    assert_no_children();
}

fn a_result_that_is_no_json_is_an_error() {
    // The keys of a JSON object are strings.
    let task = process::spawn(|| std::collections::BTreeMap::from([((1, 2), 3)]));
    let error = task.join().unwrap_err();
    assert!(matches!(error, ProcessError::Unsendable(_)), "{error}");
}

fn results_larger_than_a_pipe_are_joined_in_order() {
    let tasks: Vec<_> =
        (0..4_usize).map(|n| process::spawn(move || "x".repeat(1_000_000 + n))).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap().len(), 1_000_000 + n);
    }
}

fn a_result_does_not_wait_for_a_grandchild() {
    // The grandchild holds a copy of the pipe's writing end, and outlives the result.
    let task = process::spawn(|| {
        let grandchild = process::spawn(pause);
        let pid = grandchild.pid().as_raw();
        std::mem::forget(grandchild);
        pid
    });
    let grandchild = task.join().unwrap();
    assert!(grandchild > 0);
}

fn a_death_does_not_wait_for_a_grandchild() {
    let (gate, mut opens) = io::pipe().unwrap();
    let task = process::spawn(|| {
        // Not tied to its parent's life, and the holder of a copy of the pipe's writing end.
        let grandchild = Child::fork(|| {
            nix::sys::prctl::set_pdeathsig(None).unwrap();
            (&gate).read_exact(&mut [0]).unwrap();
            0
        });
        std::mem::forget(grandchild.unwrap());
        kill(Pid::this(), Signal::SIGKILL).unwrap();
    });
    let error = task.join().unwrap_err();
    assert!(matches!(error, ProcessError::Killed(Signal::SIGKILL)), "{error}");
    opens.write_all(b"x").unwrap(); // the grandchild may go
}

fn a_death_does_not_wait_for_siblings() {
    let first = process::spawn(pause);
    let others: Vec<_> = (0..3).map(|_| process::spawn(pause)).collect();
    first.kill(Signal::SIGKILL).unwrap();
    assert!(matches!(first.join(), Err(ProcessError::Killed(_))));
    assert!(others.iter().all(|task| !task.is_finished()));
}

fn five_hundred_wait_at_once() {
    let (gate, opens) = io::pipe().unwrap();
    let mut opens = Some(opens);
    let mut tasks = Vec::new();
    for n in 0..500 {
        tasks.push(process::spawn(|| {
            drop(opens.take()); // this copy of the writing end, not the parent's
            let waited = (&gate).read(&mut [0]).unwrap();
            (n, waited)
        }));
    }
    assert!(tasks.iter().all(|task| !task.is_finished()));
    drop(opens); // an end of file for all
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), (n, 0));
    }
    assert_no_children();
}

fn the_first_of_many_is_seen_by_poll() {
    let idle = process::spawn(pause);
    let quick = process::spawn(|| 1);
    let mut sources = [&idle.as_fd(), &quick.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    poll(&mut sources, PollTimeout::NONE).unwrap();
    assert_eq!(sources.map(|source| source.any()), [Some(false), Some(true)]);
    assert_eq!(quick.join().unwrap(), 1);
    idle.kill(Signal::SIGKILL).unwrap();
    let mut sources = [PollFd::new(idle.as_fd(), PollFlags::POLLIN)];
    poll(&mut sources, PollTimeout::NONE).unwrap(); // an end is an event, too
    assert!(idle.join().is_err());
}

fn stop_continue_kill() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let task = process::spawn(move || (&theirs).read(&mut [0]).unwrap());
    for _ in 0..3 {
        task.kill(Signal::SIGSTOP).unwrap();
        assert!(task.wait_stopped().unwrap());
        task.kill(Signal::SIGCONT).unwrap();
    }
    ours.write_all(b"x").unwrap();
    assert!(!task.wait_stopped().unwrap()); // it has ended
    assert_eq!(task.join().unwrap(), 1);

    // A stopped process can be killed, and be dropped.
    for how in [
        |task: Process<()>| drop(task),
        |task: Process<()>| {
            task.kill(Signal::SIGKILL).unwrap();
            assert!(matches!(task.join(), Err(ProcessError::Killed(Signal::SIGKILL))));
        },
    ] {
        let task = process::spawn(pause);
        task.kill(Signal::SIGSTOP).unwrap();
        assert!(task.wait_stopped().unwrap());
        how(task);
    }
    assert_no_children();
}

fn is_finished_leaves_the_result() {
    let task = process::spawn(|| 5);
    assert!(!task.wait_stopped().unwrap());
    assert!(task.is_finished());
    assert!(task.is_finished());
    assert_eq!(task.join().unwrap(), 5);
}

fn a_dropped_process_is_gone() {
    let tasks: Vec<_> = (0..3).map(|_| process::spawn(pause)).collect();
    let pids: Vec<Pid> = tasks.iter().map(Process::pid).collect();
    drop(tasks);
    for pid in pids {
        assert_eq!(kill(pid, None), Err(Errno::ESRCH));
    }
    assert_no_children();
}

fn a_copy_of_a_handle_kills_nobody() {
    let sibling = process::spawn(pause);
    let pid = sibling.pid();
    let task = process::spawn(move || drop(sibling)); // the parent's copy goes, too
    task.join().unwrap();
    assert_eq!(kill(pid, None), Err(Errno::ESRCH));

    let mut sibling = Some(process::spawn(|| 1));
    process::spawn(|| drop(sibling.take())).join().unwrap();
    assert_eq!(sibling.unwrap().join().unwrap(), 1);
}

fn no_descriptor_left_is_a_sentence() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // With the first 3, 4, … numbers only, whatever of a start needs a descriptor fails in turn.
    let mut refused = Vec::new();
    loop {
        let limit = 3 + refused.len() as u64;
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
        let started = process::try_spawn(|| 1).map(drop);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        match started {
            Ok(()) => break,
            Err(error) => refused.push(error.to_string()),
        }
    }
    assert!(refused.len() >= 3, "two for the pipe, one to look for threads");
    for words in refused {
        assert!(words.starts_with("no further process can be started"), "{words}");
        assert!(words.contains("ulimit -n"), "{words}");
    }
    assert_no_children();
}

fn fork_beside_a_thread_panics() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = thread::spawn(move || (&theirs).read(&mut [0]).unwrap());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let panic = std::panic::catch_unwind(|| process::spawn(|| 1).pid()).unwrap_err();
    std::panic::set_hook(hook);
    assert!(process::panic_message(&*panic).contains("2 threads"));
    drop(ours);
    thread.join().unwrap();
}

fn a_joined_thread_is_no_obstacle() {
    for _ in 0..200 {
        thread::spawn(|| ()).join().unwrap();
        process::spawn(|| ()).join().unwrap();
    }
}

fn buffered_output_is_printed_once() {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("prints-before-it-forks")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "parent without a newline, child without one, parent again\n");
}

fn prints_before_it_forks() -> ExitCode {
    print!("parent without a newline");
    process::spawn(|| print!(", child without one")).join().unwrap();
    println!(", parent again");
    ExitCode::SUCCESS
}

fn children_die_with_their_parent() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .arg("parent-of-three")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Every child holds the writing end of this pipe. The end of file comes when all are gone.
    let mut said = parent.stdout.take().unwrap();
    let mut ready = [0; 3];
    said.read_exact(&mut ready).unwrap();
    parent.kill().unwrap();
    let mut rest = Vec::new();
    said.read_to_end(&mut rest).unwrap();
    parent.wait().unwrap();
}

fn parent_of_three() -> ExitCode {
    let _tasks: Vec<_> = (0..3)
        .map(|_| {
            process::spawn(|| {
                print!("."); // settled in
                io::stdout().flush().unwrap();
                pause();
            })
        })
        .collect();
    pause();
    ExitCode::SUCCESS
}

fn frames_survive_any_split() {
    let mut bytes = to_frame(&"first").unwrap();
    bytes.extend(to_frame(&[1, 2, 3]).unwrap());
    for split in 0..=bytes.len() {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for piece in [&bytes[..split], &bytes[split..]] {
            frames.received(piece);
            while let Some(frame) = frames.next() {
                seen.push(String::from_utf8(frame).unwrap());
            }
        }
        assert_eq!(seen, ["\"first\"", "[1,2,3]"], "split at {split}");
        assert!(!frames.is_partial());
    }
    let mut frames = Frames::default();
    frames.received(&bytes[..6]);
    assert!(frames.next().is_none() && frames.is_partial());
}

/// A process whose panic is not printed among the tests' own words.
fn quietly(f: fn()) -> Process<()> {
    process::spawn(move || {
        std::panic::set_hook(Box::new(|_| ()));
        f();
    })
}

fn assert_no_children() {
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}
