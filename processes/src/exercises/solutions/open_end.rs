//! `output` runs a command and returns all that it prints. It should end when the command has.
//! What was wrong: this process held two writing ends itself, `writer` and the command's copy.
//! The bug: Python's documentation of `multiprocessing.connection.wait` closes that end "now to
//! be sure that p is the only process which owns a handle for it".

use std::io::{self, Read};
use std::process::Command;

pub fn output(mut command: Command) -> io::Result<String> {
    let (mut reader, writer) = io::pipe()?;
    let mut child = command.stdout(writer).spawn()?;
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    child.wait()?;
    Ok(text)
}
