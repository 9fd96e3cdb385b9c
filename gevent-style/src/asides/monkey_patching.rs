//! monkey-patching: the same blocking code, before and after `patch_all()`.
//! Unpatched, a greenlet that blocks stops the whole thread; patched, it waits in the hub.
//! Run it: cargo run -p gevent-style -- monkey-patching

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::partner::site::handle::Site;
use common::registry::Flags;
use common::report::bars::{Bar, bars};
use common::report::section::Section;
use common::report::verdict::Verdict;
use serde_json::{Value, json};

use crate::asides::apart;
use crate::gevent::greenlet;

/// How long each call blocks.
const WAIT: Duration = Duration::from_millis(100);
/// Greenlets before `patch_all()`: they take a second.
const BEFORE: usize = 10;
/// Greenlets after it: they take a tenth.
const AFTER: usize = 200;
/// Greenlets for each of the other calls.
const OTHERS: usize = 20;

/// A blocking call as in any program. It knows nothing of greenlets.
#[derive(Clone, Copy)]
struct Blocking {
    name: &'static str,
    call: fn(site: &str) -> io::Result<()>,
}

const BLOCKING: [Blocking; 3] = [
    Blocking { name: "thread::sleep", call: sleep },
    Blocking { name: "std::net", call: fetch },
    Blocking { name: "ureq", call: fetch_with_ureq },
];

#[expect(clippy::unnecessary_wraps, reason = "the others can fail")]
fn sleep(_site: &str) -> io::Result<()> {
    thread::sleep(WAIT);
    Ok(())
}

fn fetch(site: &str) -> io::Result<()> {
    let mut socket = TcpStream::connect(site)?;
    let path = format!("/page/1?delay={}", WAIT.as_millis());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut page = String::new();
    socket.read_to_string(&mut page)?;
    if page.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// A blocking HTTP client from crates.io, as it is.
fn fetch_with_ureq(site: &str) -> io::Result<()> {
    let url = format!("http://{site}/page/1?delay={}", WAIT.as_millis());
    let mut response = ureq::get(url).call().map_err(io::Error::other)?;
    response.body_mut().read_to_string().map_err(io::Error::other)?;
    Ok(())
}

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    match compare(&mut section) {
        Ok(()) => others(&mut section),
        Err(error) => section.wrong = Some(error.to_string()),
    }
    section
}

/// Each call, by ten greenlets in an unpatched program, and by two hundred in this one.
fn compare(section: &mut Section) -> io::Result<()> {
    let site = Site::start()?;
    let site = site.address().to_string();
    // The unpatched programs take a second each, so they run at the same time.
    let before = BLOCKING.map(|blocking| {
        let word = format!("{} {site}", blocking.name);
        thread::spawn(move || apart::run("before", &word))
    });
    let mut after = Vec::new();
    for blocking in BLOCKING {
        let site = site.clone();
        after.push(greenlet::run(|| all_at_once(AFTER, move || (blocking.call)(&site)))?);
    }
    section.answer.push("in a call at once       before patch_all()     after it".into());
    let mut rows = Vec::new();
    for ((blocking, before), after) in BLOCKING.iter().zip(before).zip(after) {
        let name = blocking.name;
        let before = before.join().map_err(|_| io::Error::other("an OS thread panicked"))??;
        let at_once = |measured: &Value| measured["at_once"].as_u64().unwrap_or(0);
        let (was, is) = (at_once(&before), at_once(&after));
        section.answer.push(format!("  {name:<22}{was:>10} of {BEFORE}{is:>12} of {AFTER}"));
        let seconds = |measured: &Value| measured["seconds"].as_f64().unwrap_or_default();
        rows.push(Bar::new(name, seconds(&before), &format!("{BEFORE} before")));
        rows.push(Bar::new("", seconds(&after), &format!("{AFTER} after")));
        section.measure(name, json!({"before": before, "after": after}));
    }
    section.shown = bars(&rows);
    Ok(())
}

/// What an unpatched program does: the hub runs, and the calls are libc's own.
pub fn before(word: &str) -> Value {
    let (name, site) = word.split_once(' ').unwrap_or((word, ""));
    let site = site.to_string();
    let mut named = BLOCKING.iter().filter(|blocking| blocking.name == name);
    let Some(&blocking) = named.next() else { return Value::Null };
    let measured = greenlet::run(|| all_at_once(BEFORE, move || (blocking.call)(&site)));
    measured.unwrap_or_else(|error| json!({"error": error.to_string()}))
}

/// Runs a call in `n` greenlets. Returns how many were in it at once, how long all of them took,
/// and on how many threads they ran.
fn all_at_once<F>(n: usize, call: F) -> io::Result<Value>
where
    F: Fn() -> io::Result<()> + Send + Sync + 'static,
{
    let call = Arc::new(call);
    let inside = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..n {
        let (call, inside) = (Arc::clone(&call), Arc::clone(&inside));
        tasks.push(greenlet::spawn(move || {
            let now = inside.fetch_add(1, Ordering::Relaxed) + 1;
            let result = call();
            inside.fetch_sub(1, Ordering::Relaxed);
            result.map(|()| (now, thread_id()))
        }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.join().map_err(|_| io::Error::other("a greenlet panicked"))??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let at_once = results.iter().map(|(now, _)| now).max();
    let threads: BTreeSet<_> = results.iter().map(|(_, thread)| thread).collect();
    Ok(json!({"at_once": at_once, "seconds": seconds, "threads": threads.len()}))
}

#[expect(unsafe_code, reason = "gettid")]
fn thread_id() -> i32 {
    // SAFETY: takes no pointer.
    unsafe { libc::gettid() }
}

type Call = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// The other calls that are patched, each in twenty greenlets.
fn others(section: &mut Section) {
    let lock = Arc::new(Mutex::new(()));
    let meeting = Arc::new((Mutex::new(0), Condvar::new()));
    let rows: [(&str, Call); 6] = [
        ("a name, by a helper thread", Box::new(|| ("localhost", 80).to_socket_addrs().map(drop))),
        ("Command::output, sleep 0.02", Box::new(run_a_command)),
        ("joining an OS thread", Box::new(join_a_thread)),
        ("a read timeout of 20 ms", Box::new(read_in_vain)),
        ("Condvar, the last one notifies", Box::new(move || all_meet(&meeting))),
        ("Mutex held across a sleep", Box::new(move || sleep_with_the_lock(&lock))),
    ];
    section.shown.push(format!("  and {OTHERS} greenlets in each of these   at once     took"));
    let mut threads = 0;
    for (name, call) in rows {
        match greenlet::run(|| all_at_once(OTHERS, call)) {
            Ok(measured) => {
                let seconds = measured["seconds"].as_f64().unwrap_or_default();
                let at_once = measured["at_once"].as_u64().unwrap_or(0);
                section.shown.push(format!("    {name:<31} {at_once:>6}  {seconds:.3} s"));
                threads = threads.max(measured["threads"].as_u64().unwrap_or(0));
                section.measure(name, measured);
            }
            Err(error) => section.wrong = Some(format!("{name}: {error}")),
        }
    }
    let program = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    section.shown.push(format!(
        "  The greenlets ran on {threads} thread. The program has {program}: this one, main,"
    ));
    section
        .shown
        .push("  which waits for it, may's timer, not used here, and helpers for names.".into());
    section.measure("os_threads", json!({"greenlets": threads, "program": program}));
}

fn run_a_command() -> io::Result<()> {
    let output = Command::new("sleep").arg("0.02").output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other("sleep failed")) }
}

fn join_a_thread() -> io::Result<()> {
    let os_thread = thread::spawn(|| thread::sleep(Duration::from_millis(20)));
    os_thread.join().map_err(|_| io::Error::other("an OS thread panicked"))
}

fn read_in_vain() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut socket = TcpStream::connect(listener.local_addr()?)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    match socket.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => Err(io::Error::other(format!("{other:?} in place of a timeout"))),
    }
}

fn all_meet((arrived, changed): &(Mutex<usize>, Condvar)) -> io::Result<()> {
    let mut arrived = arrived.lock().map_err(|_| io::Error::other("poisoned"))?;
    *arrived += 1;
    changed.notify_all();
    while *arrived < OTHERS {
        arrived = changed.wait(arrived).map_err(|_| io::Error::other("poisoned"))?;
    }
    Ok(())
}

fn sleep_with_the_lock(lock: &Mutex<()>) -> io::Result<()> {
    let _held = lock.lock().map_err(|_| io::Error::other("poisoned"))?;
    thread::sleep(Duration::from_millis(2));
    Ok(())
}

/// G3, from how many greenlets were in the same call at once on one thread: one before, all after.
pub fn cooperates_when_patched(section: &Section) -> Verdict {
    let seen = |when: &str, what: &str| {
        BLOCKING.map(|call| {
            let seen = section.measured.get(call.name).and_then(|seen| seen[when][what].as_u64());
            seen.unwrap_or(0)
        })
    };
    let [before, after] = ["before", "after"].map(|when| seen(when, "at_once"));
    let threads = ["before", "after"].map(|when| seen(when, "threads")).concat();
    let most = threads.iter().max().unwrap_or(&0);
    let said = format!(
        "in the same call at once: {} before patch_all(), {} after it; on {most} thread",
        before.map(|n| n.to_string()).join(", "),
        after.map(|n| n.to_string()).join(", ")
    );
    let cooperates = before == [1; 3] && after == [AFTER as u64; 3];
    if cooperates && threads == [1; 6] { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What patching shows where it works, but for one figure of one call.
    fn with(call: &str, when: &str, what: &str, figure: u64) -> Section {
        let mut section = Section::default();
        for Blocking { name, .. } in BLOCKING {
            let [before, after] =
                [1, AFTER].map(|at_once| json!({"at_once": at_once, "threads": 1}));
            section.measure(name, json!({"before": before, "after": after}));
        }
        section.measured[call][when][what] = json!(figure);
        section
    }

    #[test]
    fn verdicts_follow_the_figures() {
        for Blocking { name, .. } in BLOCKING {
            let good = cooperates_when_patched(&with(name, "before", "at_once", 1));
            assert!(matches!(good, Verdict::Holds(_)), "{good:?}");
            for (when, what, figure) in [
                ("before", "at_once", 2),
                ("before", "threads", 2),
                ("after", "at_once", 1),
                ("after", "threads", 2),
            ] {
                let broken = cooperates_when_patched(&with(name, when, what, figure));
                assert!(matches!(broken, Verdict::Fails(_)), "{name} {when} {what}: {broken:?}");
            }
        }
        let nothing = cooperates_when_patched(&Section::default());
        assert!(matches!(nothing, Verdict::Fails(_)), "{nothing:?}");
    }
}
