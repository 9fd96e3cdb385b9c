//! `output` runs a command and returns all that it prints. It should end when the command has.
//! Hint: a pipe ends when its last writing end is closed. How many are there, and which code owns
//! them? A `Command` keeps what it was given until it is dropped.
//! The bug: Python's documentation of `multiprocessing.connection.wait` closes that end "now to
//! be sure that p is the only process which owns a handle for it".
//! Try it: `cargo test -p processes open_end -- --ignored`

use std::io::{self, Read};
use std::process::Command;

pub fn output(mut command: Command) -> io::Result<String> {
    let (mut reader, writer) = io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).spawn()?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    child.wait()?;
    Ok(text)
}
