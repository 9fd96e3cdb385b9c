//! Runs tests one after the other on the main thread: only a process with one thread may fork, and
//! the usual harness runs each test in a thread.

use std::panic;
use std::process::ExitCode;

use nix::unistd::alarm;

pub type Test = (&'static str, fn());

/// Runs the tests whose names contain one of the arguments; without arguments, all of them.
pub fn main(tests: &[Test]) -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
            continue;
        }
        alarm::set(120); // a safety timeout: SIGALRM ends a test that hangs
        if panic::catch_unwind(test).is_ok() {
            println!("test {name} ... ok");
        } else {
            println!("test {name} ... FAILED");
            failed.push(*name);
        }
        alarm::cancel();
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
