//! The counts of the site, and the commands that it answers.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::limits::BUFFER;

/// What the site has counted.
///
/// A request is open from the last byte of its head until the last byte of its answer is passed to
/// the kernel, or until the client disconnects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests open now.
    pub open: usize,
    /// The most requests that were open at once since the last reset.
    pub most_open: usize,
    /// Requests answered since the last reset, in any way.
    pub served: usize,
    /// Requests whose client disconnected before the end of the answer, since the last reset.
    pub given_up: usize,
    /// Connections accepted since the last reset.
    pub connections: usize,
}

/// The commands to the site and its answers, one line each.
pub struct Control {
    pub commands: File,
    answers: File,
    input: Vec<u8>,
    /// Go on when the commands end.
    pub lives_on: bool,
}

/// What the site is asked to do.
pub enum Command {
    Stats,
    Reset,
    Unknown,
}

impl Control {
    pub fn new(commands: OwnedFd, answers: OwnedFd, lives_on: bool) -> Control {
        Control { commands: commands.into(), answers: answers.into(), input: Vec::new(), lives_on }
    }

    pub fn say(&mut self, line: &str) -> io::Result<()> {
        self.answers.write_all(format!("{line}\n").as_bytes())
    }

    /// Reads the commands that have arrived. False: no more will arrive.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut buf = [0; BUFFER];
        let n = self.commands.read(&mut buf)?;
        self.input.extend_from_slice(&buf[..n]);
        // No command is longer. A longer one does not come from a partner of ours.
        Ok(n > 0 && self.input.len() <= 2 * BUFFER)
    }

    /// The next complete command.
    pub fn command(&mut self) -> Option<Command> {
        let end = self.input.iter().position(|&b| b == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        match line.trim_ascii() {
            b"" => self.command(),
            b"stats" => Some(Command::Stats),
            b"reset" => Some(Command::Reset),
            _ => Some(Command::Unknown),
        }
    }
}
