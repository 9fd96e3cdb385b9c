//! What `process::spawn` promises, tested in a `main` with one thread.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, raise, signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, pause};
use serde::{Deserialize, Serialize};

#[allow(dead_code, reason = "each suite uses a part of it")]
#[path = "../src/multiprocessing/mod.rs"]
mod multiprocessing;
mod runner;

use multiprocessing::answer::ProcessError;
use multiprocessing::child::{Child, End};
use multiprocessing::connection::{Frames, to_frame};
use multiprocessing::process::{self, Process};

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
            ("a_result_that_cannot_travel_is_an_error", a_result_that_cannot_travel_is_an_error),
            ("results_arrive_exactly", results_arrive_exactly),
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
            ("fork_beside_a_thread_is_refused", fork_beside_a_thread_is_refused),
            ("a_joined_thread_is_no_obstacle", a_joined_thread_is_no_obstacle),
            ("buffered_output_is_printed_once", buffered_output_is_printed_once),
            ("children_die_with_their_parent", children_die_with_their_parent),
            ("frames_survive_any_split", frames_survive_any_split),
            (
                "a_result_arrives_though_nobody_tells_of_its_end",
                a_result_arrives_though_nobody_tells_of_its_end,
            ),
            (
                "a_result_arrives_though_somebody_else_has_reaped",
                a_result_arrives_though_somebody_else_has_reaped,
            ),
            ("a_join_needs_no_descriptor", a_join_needs_no_descriptor),
            (
                "a_large_result_does_not_wait_for_its_reader",
                a_large_result_does_not_wait_for_its_reader,
            ),
            ("a_stopped_process_is_not_ready", a_stopped_process_is_not_ready),
            (
                "a_real_time_signal_is_the_error_of_its_task",
                a_real_time_signal_is_the_error_of_its_task,
            ),
            ("a_handle_belongs_to_its_process", a_handle_belongs_to_its_process),
            ("a_torn_answer_is_no_answer", a_torn_answer_is_no_answer),
            ("a_panic_never_leaves_its_process", a_panic_never_leaves_its_process),
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
    assert!(matches!(error, ProcessError::Ended(End::Exited(3))), "{error}");
    assert_no_children();
}

fn a_kill_is_the_error_of_its_task() {
    let task = process::spawn(pause);
    task.kill(Signal::SIGKILL).unwrap();
    let error = task.join().unwrap_err();
    assert_eq!(error.to_string(), "the process was killed by SIGKILL");

    // SIGTERM ends a child even if its parent handles SIGTERM.
    let task = process::spawn(pause);
    task.kill(Signal::SIGTERM).unwrap();
    let error = task.join().unwrap_err();
    assert!(matches!(error, ProcessError::Ended(End::Killed(libc::SIGTERM))), "{error}");
    assert_no_children();
}

fn a_result_that_cannot_travel_is_an_error() {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Text(String),
    }
    #[derive(Serialize, Deserialize)]
    struct Outer {
        #[serde(flatten)]
        inner: BTreeMap<String, u8>,
    }
    #[derive(Serialize, Deserialize)]
    struct Skipping {
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u64>,
        last: u8,
    }
    let untagged = process::spawn(|| Untagged::Text("t".into())).join().map(drop);
    assert_unsendable(untagged, "an untagged enum");
    let json = process::spawn(|| serde_json::Value::Null).join().map(drop);
    assert_unsendable(json, "serde_json::Value");
    let outer = process::spawn(|| Outer { inner: BTreeMap::new() }).join().map(drop);
    assert_unsendable(outer, "flatten");
    let skipping = process::spawn(|| Skipping { left_out: None, last: 0 }).join().map(drop);
    assert_unsendable(skipping, "skip_serializing_if");
    assert_no_children();
}

fn assert_unsendable(result: Result<(), ProcessError>, word: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, ProcessError::Unsendable(_)), "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

fn results_arrive_exactly() {
    assert_eq!(process::spawn(|| Some(())).join().unwrap(), Some(()));
    assert_eq!(process::spawn(|| Some(None::<u8>)).join().unwrap(), Some(None));
    let keys = BTreeMap::from([((1, 2), i128::MIN), ((3, 4), i128::MAX)]);
    assert_eq!(process::spawn(|| keys.clone()).join().unwrap(), keys);
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut floats = vec![f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE / 2.0];
    floats.extend((0..100_000).map(|_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        f64::from_bits(random)
    }));
    let bits = |floats: &[f64]| floats.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
    let arrived = process::spawn(|| floats.clone()).join().unwrap();
    assert!(bits(&arrived) == bits(&floats));
}

fn results_larger_than_a_pipe_are_joined_in_order() {
    let tasks: Vec<_> =
        (0..4_usize).map(|n| process::spawn(move || "x".repeat(1_000_000 + n))).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap().len(), 1_000_000 + n);
    }
}

fn a_result_does_not_wait_for_a_grandchild() {
    // The grandchild holds a copy of the writing end of the pipe, and outlives the result.
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
        // It outlives its parent, and holds a copy of the writing end of the pipe.
        let grandchild = Child::fork(|| {
            nix::sys::prctl::set_pdeathsig(None).unwrap();
            (&gate).read_exact(&mut [0]).unwrap();
            0
        });
        std::mem::forget(grandchild.unwrap());
        kill(Pid::this(), Signal::SIGKILL).unwrap();
    });
    let error = task.join().unwrap_err();
    assert!(matches!(error, ProcessError::Ended(End::Killed(libc::SIGKILL))), "{error}");
    opens.write_all(b"x").unwrap(); // the grandchild may go
}

fn a_death_does_not_wait_for_siblings() {
    let first = process::spawn(pause);
    let others: Vec<_> = (0..3).map(|_| process::spawn(pause)).collect();
    first.kill(Signal::SIGKILL).unwrap();
    assert!(matches!(first.join(), Err(ProcessError::Ended(End::Killed(_)))));
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
            assert!(matches!(task.join(), Err(ProcessError::Ended(End::Killed(libc::SIGKILL)))));
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
    // With only the first 3, 4, … numbers, each step of a start that needs a descriptor fails in
    // turn.
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
    assert!(refused.len() >= 2, "one for the answer, one to look for threads");
    for words in refused {
        assert!(words.starts_with("no further process can be started"), "{words}");
        assert!(words.contains("ulimit -n"), "{words}");
    }
    assert_no_children();
}

fn fork_beside_a_thread_is_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = thread::spawn(move || (&theirs).read(&mut [0]).unwrap());
    let error = process::try_spawn(|| 1).map(drop).unwrap_err();
    assert!(error.to_string().contains("2 threads"), "{error}");
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
    let mut bytes = to_frame(7, b"first");
    bytes.extend(to_frame(u64::MAX, &[1, 2, 3]));
    for split in 0..=bytes.len() {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for piece in [&bytes[..split], &bytes[split..]] {
            frames.received(piece);
            while let Some(frame) = frames.next() {
                seen.push(frame);
            }
        }
        let sent = [(7, b"first".to_vec()), (u64::MAX, vec![1, 2, 3])];
        assert_eq!(seen, sent, "split at {split}");
        assert!(!frames.is_partial());
    }
    let mut frames = Frames::default();
    frames.received(&bytes[..6]);
    assert!(frames.next().is_none() && frames.is_partial());
}

fn a_result_arrives_though_nobody_tells_of_its_end() {
    ignoring_sigchld(|| {
        let tasks: Vec<_> = (0..100).map(|n| process::spawn(move || n)).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            while !task.is_finished() {
                thread::yield_now(); // until the kernel itself has reaped it
            }
            assert!(!task.wait_stopped().unwrap());
            task.kill(Signal::SIGKILL).unwrap();
            assert_eq!(task.join().unwrap(), n);
        }
        let task = process::spawn(pause);
        task.kill(Signal::SIGKILL).unwrap();
        let error = task.join().unwrap_err();
        assert!(matches!(error, ProcessError::Ended(End::Unknown)), "{error}");
        // Its own children can be waited for: it does not inherit this.
        let nested = || process::spawn(|| -> u8 { std::process::exit(3) }).join();
        let error = process::spawn(|| nested().map_err(|error| error.to_string())).join().unwrap();
        assert!(error.unwrap_err().contains("exited with code 3"));
        drop(process::spawn(pause));
    });
    assert_no_children();
}

#[expect(unsafe_code, reason = "a signal is ignored")]
fn ignoring_sigchld(f: impl FnOnce()) {
    // SAFETY: neither ignoring a signal nor its default action runs any code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn).unwrap() };
    f();
    // SAFETY: as above.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl).unwrap() };
}

fn a_result_arrives_though_somebody_else_has_reaped() {
    let task = process::spawn(|| 7);
    waitpid(None, None).unwrap(); // for any child, as some libraries do
    assert!(task.is_finished());
    assert_eq!(task.join().unwrap(), 7);
}

fn a_join_needs_no_descriptor() {
    let task = process::spawn(|| "x".repeat(1_000_000));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 1, hard).unwrap();
    let result = task.join();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(result.unwrap().len(), 1_000_000);
}

fn a_large_result_does_not_wait_for_its_reader() {
    let task = process::spawn(|| "x".repeat(1_000_000));
    assert!(!task.wait_stopped().unwrap());
    assert!(task.is_finished());
    assert_eq!(task.join().unwrap().len(), 1_000_000);

    let task = process::spawn(|| "x".repeat(1_000_000));
    while !task.is_finished() {
        thread::yield_now();
    }
    drop(task);
    assert_no_children();
}

fn a_stopped_process_is_not_ready() {
    let task = process::spawn(|| {
        raise(Signal::SIGSTOP).unwrap();
        "x".repeat(1_000_000)
    });
    assert!(task.wait_stopped().unwrap());
    assert!(!task.is_finished());
    let mut sources = [PollFd::new(task.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut sources, PollTimeout::ZERO), Ok(0));
    task.kill(Signal::SIGCONT).unwrap();
    let mut sources = [PollFd::new(task.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut sources, PollTimeout::NONE), Ok(1));
    task.kill(Signal::SIGSTOP).unwrap(); // it has ended: nothing keeps the join waiting
    assert_eq!(task.join().unwrap().len(), 1_000_000);
}

#[expect(unsafe_code, reason = "nix raises no real-time signals")]
fn a_real_time_signal_is_the_error_of_its_task() {
    let number = libc::SIGRTMIN() + 1;
    // SAFETY: the signal's default action ends the process.
    let task = process::spawn(move || unsafe { libc::raise(number) });
    let error = task.join().unwrap_err();
    assert_eq!(error.to_string(), format!("the process was killed by real-time signal {number}"));
    assert_no_children();
}

fn a_handle_belongs_to_its_process() {
    let mut task = Some(process::spawn(|| 5));
    let said = process::spawn(|| {
        let task = task.take().unwrap();
        assert!(task.wait_stopped().is_err());
        task.join().unwrap_err().to_string()
    });
    assert!(said.join().unwrap().contains("it belongs to process"));
    assert_eq!(task.unwrap().join().unwrap(), 5);

    // Nor does it end what still runs.
    let mut task = Some(process::spawn(pause));
    let error = process::spawn(|| task.take().unwrap().join().unwrap_err().to_string());
    assert!(error.join().unwrap().contains("it belongs to process"));
    assert!(!task.unwrap().is_finished());
    assert_no_children();
}

fn a_torn_answer_is_no_answer() {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let task = process::spawn(move || {
        // The kernel kills a process that writes beyond this.
        setrlimit(Resource::RLIMIT_FSIZE, 500_000, hard).unwrap();
        "x".repeat(1_000_000)
    });
    let error = task.join().unwrap_err();
    assert_eq!(error.to_string(), "the process was killed by SIGXFSZ");
}

fn a_panic_never_leaves_its_process() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("once more"));
        }
    }
    let parent = Pid::this();
    let task = process::spawn(|| -> () { std::panic::resume_unwind(Box::new(Bomb)) });
    let error = task.join().unwrap_err();
    assert_eq!(error.to_string(), "the process panicked: a panic without a message");
    let mut child = Child::fork(|| std::panic::resume_unwind(Box::new(Bomb))).unwrap();
    assert_eq!(child.reap().unwrap(), End::Exited(101));
    assert_eq!(Pid::this(), parent);
}

/// A process whose panic is not printed into the output of the tests.
fn quietly(f: fn()) -> Process<()> {
    process::spawn(move || {
        std::panic::set_hook(Box::new(|_| ()));
        f();
    })
}

fn assert_no_children() {
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}
