//! Starts this program once more, as a process that does not outlive the one that started it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// A command that starts this program once more.
///
/// The process is killed when the thread that starts it ends, whatever ends it
/// (`PR_SET_PDEATHSIG` in `man 2 prctl`), so that even SIGKILL leaves nothing behind.
#[expect(unsafe_code, reason = "std leaves it to the closure what is safe after a fork")]
pub fn command() -> Command {
    let parent = getpid();
    let end_with_parent = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // It may have ended before that, and then no signal will come.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    let mut command = Command::new("/proc/self/exe");
    // SAFETY: the closure runs between fork and exec. It makes two system calls, allocates
    // nothing and takes no lock.
    unsafe { command.pre_exec(end_with_parent) };
    command
}

/// A process that is killed and waited for when this is dropped.
pub struct Child(pub process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    use std::thread;

    use super::*;

    /// Says to a copy of this test program that it is one.
    const COPY: &str = "COPY_THAT_READS_TO_THE_END";

    /// What a copy runs; nothing but a copy has a part here.
    #[test]
    fn in_the_copy() {
        if std::env::var_os(COPY).is_some() {
            io::stdin().read_to_end(&mut Vec::new()).expect("it is a pipe");
        }
    }

    fn copy() -> process::Child {
        let mut command = command();
        command.args(["--exact", "partner::child::tests::in_the_copy"]).env(COPY, "");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a process")
    }

    #[test]
    fn a_copy_ends_with_the_thread_that_started_it() {
        let mut copy = thread::spawn(copy).join().expect("it does not panic");
        // Its input stays open, and is not what ends it.
        let input = copy.stdin.take();
        assert_eq!(copy.wait().expect("it is our child").signal(), Some(Signal::SIGKILL as i32));
        drop(input);
    }

    #[test]
    fn a_copy_ends_in_its_own_time_otherwise() {
        let mut copy = copy();
        assert!(copy.wait().expect("it ends with its input").success());
    }

    #[test]
    fn a_child_that_is_dropped_is_gone() {
        let copy = copy();
        let process = format!("/proc/{}", copy.id());
        drop(Child(copy));
        assert!(!std::path::Path::new(&process).exists());
    }
}
