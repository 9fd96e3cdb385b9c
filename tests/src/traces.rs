//! What a program may leave behind: processes, sockets.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::deadline;

/// The variable that is set for every program. Its children inherit it, and keep it when the parent
/// ends.
pub const MARK: &str = "STARTED_BY_A_TEST";

/// The running processes of a program that was started with this mark, including itself.
pub fn marked(mark: &str) -> Vec<Pid> {
    let wanted = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_mark = |pid: &i32| {
        // A process that has just ended, or belongs to another user, does not count.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&b| b == 0).any(|variable| variable == wanted.as_bytes())
    };
    pids.filter(has_mark).map(Pid::from_raw).collect()
}

/// The command line of a process: the program and its arguments, with spaces between.
pub fn command_line(pid: Pid) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// Waits until the process has ended; false if it has not by the deadline.
pub fn ended(pid: Pid, deadline: Instant) -> bool {
    let Some(process) = pidfd(pid) else {
        return true;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).expect("the safety timeout is short enough");
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&process), PollFlags::POLLIN)];
    poll(&mut fds, timeout).expect("no signal is caught here") > 0
}

/// Waits until no process with this mark is running. Returns the command lines of those that still
/// run at the deadline.
pub fn leftovers(mark: &str) -> Vec<String> {
    let deadline = deadline();
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return Vec::new();
        }
        for &pid in &left {
            if !ended(pid, deadline) {
                return left.into_iter().map(command_line).collect();
            }
        }
    }
}

/// What a process used.
pub struct Usage {
    /// User and system time, in seconds, of it and of its own children.
    pub cpu_s: f64,
    /// The most memory, in KiB, that it or one of its own children had resident.
    pub peak_kib: u64,
}

/// Waits until a child has ended, without reaping it. Returns what it used.
#[expect(unsafe_code, reason = "only the system call itself hands out the usage")]
pub fn usage(child: Pid) -> io::Result<Usage> {
    // SAFETY: both are plain numbers, and all zeros are valid for them.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: the kernel writes to the two structures, which outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PID,
            child.as_raw(),
            &raw mut info,
            flags,
            &raw mut usage,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Ok(Usage { cpu_s, peak_kib: usage.ru_maxrss as u64 })
}

/// A descriptor that becomes readable when the process ends; `None` if it is gone.
#[expect(unsafe_code, reason = "nix has no pidfd_open")]
fn pidfd(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: the call takes two integers and accesses no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    // SAFETY: the kernel has just made this descriptor, and no other code knows it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// How many sockets of running processes have this TCP port on either side.
pub fn sockets(port: u16) -> usize {
    let mut found = 0;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = fs::read_to_string(table).unwrap_or_default();
        found += table.lines().skip(1).filter(|line| has_port(line, port)).count();
    }
    found
}

/// A line of `/proc/net/tcp`: `sl local:PORT remote:PORT state queues timer retransmits uid timeout
/// inode …`. A socket that only the kernel still keeps after a close has inode 0.
fn has_port(line: &str, port: u16) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let end = format!(":{port:04X}");
    matches!(fields[..], [_, local, remote, _, _, _, _, _, _, inode, ..]
        if inode != "0" && (local.ends_with(&end) || remote.ends_with(&end)))
}
