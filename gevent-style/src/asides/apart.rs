//! Runs a part of this program in a process of its own, in which nothing is patched and no hub runs
//! unless the part starts one. The part prints its results as JSON.

use std::env;
use std::io;
use std::process::ExitCode;

use common::partner::child;
use serde_json::Value;

/// A part by its name: a function that takes one word and returns its results.
pub type Part = (&'static str, fn(&str) -> Value);

/// The first argument of such a process.
const MARK: &str = "--apart";

/// Runs a part and waits for its results. The process ends with the thread that calls this.
///
/// # Errors
///
/// It cannot be started, or does not print JSON.
pub fn run(part: &str, word: &str) -> io::Result<Value> {
    let output = child::command().args([MARK, part, word]).output()?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("{part} {word} ended with {}: {}", output.status, said.trim()))
    })
}

/// First line of `main`: in a process that `run` started, runs the part and returns its exit code.
pub fn main(parts: &[Part]) -> Option<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [mark, part, word] = &arguments[..] else { return None };
    if mark != MARK {
        return None;
    }
    let mut named = parts.iter().filter(|(name, _)| name == part);
    let Some((_, run)) = named.next() else { return Some(ExitCode::from(2)) };
    println!("{}", run(word));
    Some(ExitCode::SUCCESS)
}
