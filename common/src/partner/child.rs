//! Starts this program again, as a process that ends with the one that started it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// A command that starts this program again.
///
/// The kernel kills the process when the thread that started it ends, for any reason
/// (`PR_SET_PDEATHSIG` in `man 2 prctl`). So even SIGKILL leaves no process behind.
#[expect(unsafe_code, reason = "std leaves it to the closure what is safe after a fork")]
pub fn command() -> Command {
    let parent = getpid();
    let end_with_parent = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before that, and then no signal will come.
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

    /// Tells a copy of this test program that it is one.
    const COPY: &str = "COPY_THAT_READS_TO_THE_END";

    /// What a copy runs. In the test program itself it does nothing.
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
        // Its input stays open, so that does not end it.
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
