//! What greenlets do, and the two tables of the README: one test for each line of what is patched
//! and of what is not. The threads of the test harness are not greenlets; all tests share one hub.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use crate::gevent::event::Event;
use crate::gevent::greenlet::{self, Greenlet, iwait, joinall};
use crate::gevent::timeout::{self, GreenletExit, Timeout, with_timeout};
use crate::gevent::{helpers, monkey};

/// A safety timeout: a test that waits this long hangs.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Runs `f` as a main greenlet, patched.
pub fn greenlets<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    monkey::patch_all();
    let (done, result) = mpsc::channel();
    let main = thread::spawn(move || {
        let value = greenlet::run(f);
        let _ = done.send(());
        value
    });
    assert!(
        result.recv_timeout(DEADLINE) != Err(mpsc::RecvTimeoutError::Timeout),
        "the greenlets hang"
    );
    main.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs an ignored test of this program in a process of its own.
fn apart(test: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", test, "--ignored", "--nocapture"];
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn succeeds_apart(test: &str) {
    let output = apart(test);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The test ends its process, and prints this sentence.
#[track_caller]
fn aborts_apart(test: &str, sentence: &str) {
    let output = apart(test);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
    assert!(said.contains(sentence), "{said}");
}

/// The order of events.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn push(&self, who: char) {
        self.0.lock().unwrap().push(who);
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// One greenlet blocks and then writes an `a`. The next one writes a `b` and only then does what
/// the first one waits for. If the call does not cooperate, this hangs.
#[track_caller]
fn is_patched(block: impl FnOnce() + Send + 'static, release: impl FnOnce() + Send + 'static) {
    assert_eq!(greenlets(|| order(block, release)), "ba");
}

fn order(block: impl FnOnce() + Send + 'static, release: impl FnOnce() + Send + 'static) -> String {
    let log = Log::default();
    let (a, b) = (log.clone(), log.clone());
    let first = greenlet::spawn(move || {
        block();
        a.push('a');
    });
    let second = greenlet::spawn(move || {
        b.push('b');
        release();
    });
    first.join().unwrap();
    second.join().unwrap();
    log.text()
}

/// Like `is_patched`, but an OS thread releases the first greenlet, once it sees that the worker
/// sleeps in the kernel: so the second greenlet has not had its turn.
#[track_caller]
fn is_not_patched(block: impl FnOnce() + Send + 'static, release: impl FnOnce() + Send + 'static) {
    let order = greenlets(|| {
        let log = Log::default();
        let (a, b) = (log.clone(), log.clone());
        let worker = Arc::new(AtomicUsize::new(0));
        let releaser = thread::spawn({
            let worker = worker.clone();
            move || {
                wait_until_asleep(&worker);
                release();
            }
        });
        let first = greenlet::spawn(move || {
            worker.store(thread_id(), Ordering::SeqCst);
            block();
            a.push('a');
        });
        let second = greenlet::spawn(move || b.push('b'));
        first.join().unwrap();
        second.join().unwrap();
        releaser.join().unwrap();
        log.text()
    });
    assert_eq!(order, "ab");
}

fn wait_until_asleep(worker: &AtomicUsize) {
    loop {
        let id = worker.load(Ordering::SeqCst);
        if id != 0 {
            let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap();
            let (_, state) = stat.rsplit_once(") ").unwrap();
            if state.starts_with('S') {
                return;
            }
        }
        thread::yield_now();
    }
}

#[expect(unsafe_code, reason = "gettid")]
fn thread_id() -> usize {
    // SAFETY: takes no pointer.
    unsafe { libc::gettid() as usize }
}

/// std sets 128; a larger burst would wait for the kernel's second try, a second later.
#[expect(unsafe_code, reason = "listen")]
fn lengthen_backlog(listener: &TcpListener) {
    // SAFETY: takes no pointer; a listener may be told again.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 4096) }, 0);
}

fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

mod descriptors;
mod forks;
mod greenlets;
mod kills;
mod limits;
mod locks;
mod not_patched;
mod patched;
mod readme;
mod soak;
mod timeouts;
