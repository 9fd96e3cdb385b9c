//! `collect` waits for the workers of a pool. Each answers with one line, in the order of the
//! workers. One that died before its line was whole should be an error that says how it ended.
//! What was wrong: the end of a pipe, a read of no bytes, was taken for "nothing yet".
//! The bug: `multiprocessing.Pool` waits forever when a worker is killed (CPython issue 66587).

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ExitStatus};

/// The standard output of each worker is a pipe.
pub fn collect(workers: Vec<Child>) -> io::Result<Vec<Result<String, ExitStatus>>> {
    let mut answers = Vec::new();
    for mut worker in workers {
        let pipe = worker.stdout.take().expect("it is a pipe");
        let mut line = String::new();
        BufReader::new(pipe).read_line(&mut line)?; // a whole line, or what there was at the end
        let status = worker.wait()?;
        answers.push(if line.ends_with('\n') { Ok(line) } else { Err(status) });
    }
    Ok(answers)
}
