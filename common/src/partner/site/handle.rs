//! The site, as seen by the program that started it.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread::{self, JoinHandle};

use crate::partner::child::{self, Child};
use crate::partner::site::control::{Control, Stats};
use crate::partner::site::listener::{listen, refusing};
use crate::partner::site::web::Web;

/// A running site. It ends when this is dropped, and when the program that started it ends.
pub struct Site {
    address: SocketAddr,
    refused: SocketAddr,
    control: BufReader<UnixStream>,
    runner: Runner,
}

enum Runner {
    Process { _child: Child },
    Thread(Option<JoinHandle<io::Result<()>>>),
}

impl Site {
    /// Starts the site as a process of its own: this program again, with the argument `site`.
    ///
    /// The site also ends with the thread that called this, see [`child::command`].
    pub fn start() -> io::Result<Site> {
        let (control, theirs) = UnixStream::pair()?;
        let child = child::command()
            .arg("site")
            .stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .process_group(0) // Ctrl-C ends this program only, which still needs the site to end cleanly
            .spawn()?;
        let runner = Runner::Process { _child: Child(child) };
        let mut control = BufReader::new(control);
        let line = answer(&mut control)?;
        let addresses =
            line.strip_prefix("site http://").and_then(|rest| rest.split_once(" refused http://"));
        let (address, refused) = addresses.ok_or_else(|| nonsense(&line))?;
        let address = address.parse().map_err(|_| nonsense(&line))?;
        let refused = refused.parse().map_err(|_| nonsense(&line))?;
        Ok(Site { address, refused, control, runner })
    }

    /// Starts the site in a thread of this program. For unit tests, which cannot start their
    /// program again. Measurements need [`Site::start`].
    pub fn in_thread() -> io::Result<Site> {
        let (control, theirs) = UnixStream::pair()?;
        let listener = listen(0)?;
        let address = listener.local_addr()?;
        let (unheard, refused) = refusing()?;
        let theirs = Control::new(theirs.try_clone()?.into(), theirs.into(), false);
        let runner = thread::spawn(move || {
            let _unheard = unheard;
            Web::new(listener, theirs)?.run()
        });
        let control = BufReader::new(control);
        Ok(Site { address, refused, control, runner: Runner::Thread(Some(runner)) })
    }

    /// Where the site listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A port of this machine that refuses connections.
    pub fn refused(&self) -> SocketAddr {
        self.refused
    }

    /// Resets the counts to zero.
    pub fn reset(&mut self) -> io::Result<()> {
        self.ask("reset").map(drop)
    }

    /// What has been counted since the last reset.
    pub fn stats(&mut self) -> io::Result<Stats> {
        let line = self.ask("stats")?;
        serde_json::from_str(&line).map_err(|_| nonsense(&line))
    }

    /// Sends a command and waits for the line that answers it.
    fn ask(&mut self, command: &str) -> io::Result<String> {
        self.control.get_mut().write_all(format!("{command}\n").as_bytes())?;
        answer(&mut self.control)
    }
}

/// Waits for the next line of the site.
fn answer(control: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    control.read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::new(ErrorKind::UnexpectedEof, "the site does not answer")),
    }
}

fn nonsense(line: &str) -> io::Error {
    io::Error::other(format!("the site said: {line}"))
}

impl Drop for Site {
    fn drop(&mut self) {
        // The site ends with its commands.
        let _ = self.control.get_ref().shutdown(Shutdown::Both);
        if let Runner::Thread(runner) = &mut self.runner {
            let _ = runner.take().map(JoinHandle::join);
        }
    }
}
