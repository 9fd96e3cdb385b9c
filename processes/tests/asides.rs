//! The asides of the processes, run as a user runs them.

use std::process::Command;

/// Runs the program, which must not print an error, and returns its answer.
fn answer(arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_processes");
    let output = Command::new(program).args(arguments).output().expect("the program is built");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", output.status);
    String::from_utf8(output.stdout).expect("answers are text")
}

#[test]
fn pool() {
    assert_eq!(
        answer(&["pool", "--quiet"]),
        "\
hang       job 3: nothing: a caller that waits for it waits forever
break all  job 3: lost: the process was killed by SIGKILL, and all jobs are lost
report     job 3: lost: the process was killed by SIGKILL
retry      job 3: done by another worker
no luck    job 3: lost, started 3 times: the process was killed by SIGKILL
panic      job 3: the process panicked: no page 3
100 workers killed at random: every job done, and once
"
    );
}

#[test]
fn start_methods() {
    assert_eq!(
        answer(&["start-methods", "--quiet"]),
        "\
fork       remembers 42; beside a thread that holds a lock: hangs
forkserver remembers  0; beside a thread that holds a lock: done
spawn      remembers  0; beside a thread that holds a lock: done
refused: fork in a process of 2 threads: the child could hang on a lock
"
    );
}

#[test]
fn a_worker_cannot_be_started_by_hand() {
    let program = env!("CARGO_BIN_EXE_processes");
    let mark = Command::new(program).arg("--multiprocessing-fork").output().expect("it is built");
    assert_eq!(mark.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&mark.stderr).starts_with("error: --multiprocessing-fork is"));
}
