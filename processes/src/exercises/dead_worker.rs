//! `collect` waits for the workers of a pool. Each answers with one line, in the order of the
//! workers. One that died before its line was whole should be an error that says how it ended.
//! Hint: what does `read_line` return when no process is left that could write?
//! The bug: `multiprocessing.Pool` waits forever when a worker is killed (CPython issue 66587).
//! Try it: `cargo test -p processes dead_worker -- --ignored`

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ExitStatus};

/// The standard output of each worker is a pipe.
pub fn collect(workers: Vec<Child>) -> io::Result<Vec<Result<String, ExitStatus>>> {
    let mut answers = Vec::new();
    for mut worker in workers {
        let pipe = worker.stdout.take().expect("it is a pipe");
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        while !line.ends_with('\n') {
            pipe.read_line(&mut line)?;
        }
        worker.wait()?;
        answers.push(Ok(line));
    }
    Ok(answers)
}
