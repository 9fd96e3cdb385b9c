//! Runs the programs, one after the other, never two at once, and says what is going on.

use std::io::{IsTerminal, Read, stderr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ::tests::programs;
use ::tests::styles::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::python::{self, Interpreter};
use crate::record::{Outcome, Record, Run};

/// How long one run of a program may take.
const DEADLINE: Duration = Duration::from_mins(1);

enum Event {
    /// The program of this number has closed its output: stdout and stderr.
    Ended(usize, Vec<u8>, Vec<u8>),
    Interrupted,
}

/// Runs each workload in each style, and the talk's Python beside them if there is an interpreter;
/// Ctrl-C ends what runs, and what is there is handed back.
pub fn all(
    workloads: &[&str],
    styles: &[&Style],
    flags: Vec<String>,
    python: Option<&Interpreter>,
) -> Record {
    let in_python = |workload: &&str| python.map_or(0, |_| python::of(styles, workload).len());
    let of_python: usize = workloads.iter().map(in_python).sum();
    let progress = Progress::new(workloads.len() * styles.len() + of_python);
    progress.say("building the programs");
    let commands: Vec<Command> = styles.iter().map(|style| programs::command(style)).collect();
    drop(commands); // all of them are built before the first one runs
    let mut record = Record { flags, python: python.map(Interpreter::record), ..Record::default() };
    let interrupted = run_all(workloads, styles, python, &progress, &mut record).is_none();
    progress.end();
    record.interrupted = interrupted;
    record
}

/// None if it was interrupted.
fn run_all(
    workloads: &[&str],
    styles: &[&Style],
    python: Option<&Interpreter>,
    progress: &Progress,
    record: &mut Record,
) -> Option<()> {
    let mut runner = Runner::new();
    let repeat = record.flags.iter().skip_while(|flag| *flag != "--repeat").nth(1);
    let repeat: u32 = repeat.and_then(|n| n.parse().ok()).unwrap_or(1);
    for &workload in workloads {
        for style in styles {
            progress.next(workload, style.name);
            let mut command = programs::command(style);
            command.arg(workload).args(&record.flags).args(["--format", "json"]);
            let outcome = outcome(runner.run(command, DEADLINE * repeat))?;
            progress.warn(workload, style.name, &outcome);
            record.runs.push(Run::new(workload, style.name, outcome));
        }
        let Some((interpreter, of_python)) = python.zip(record.python.as_mut()) else { continue };
        for style in python::of(styles, workload) {
            let name = format!("the Python of {}", style.program);
            progress.next(workload, &name);
            let outcome = interpreter.run(&mut runner, style, workload, &record.flags)?;
            progress.warn(workload, &name, &outcome);
            of_python.runs.push(Run::new(workload, style.name, outcome));
        }
    }
    Some(())
}

/// How a program has ended.
pub enum End {
    Said {
        code: Option<i32>,
        stdout: String,
        stderr: String,
    },
    /// It could not be started, or did not end.
    Failed(String),
    Interrupted,
}

/// Runs one program at a time.
pub struct Runner {
    sender: Sender<Event>,
    events: Receiver<Event>,
    started: usize,
}

impl Runner {
    /// From here on Ctrl-C ends the program that runs, and no longer this one.
    fn new() -> Runner {
        let runner = Runner::without_signals();
        if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) {
            let sender = runner.sender.clone();
            thread::spawn(move || {
                signals.forever().try_for_each(|_| sender.send(Event::Interrupted))
            });
        }
        runner
    }

    fn without_signals() -> Runner {
        let (sender, events) = channel();
        Runner { sender, events, started: 0 }
    }

    /// One program to its end.
    pub fn run(&mut self, mut command: Command, deadline: Duration) -> End {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for us alone: a group of its own, ended as one.
        command.process_group(0);
        ends_with_us(&mut command);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return End::Failed(format!("cannot be started: {error}")),
        };
        self.started += 1;
        listen(&mut child, self.started, self.sender.clone());
        let end = Instant::now() + deadline;
        let (stdout, stderr) = loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended(of, stdout, stderr)) if of == self.started => {
                    break (stdout, stderr);
                }
                Ok(Event::Ended(..)) => {} // of one that was ended before
                Err(RecvTimeoutError::Timeout) => {
                    kill(&mut child);
                    return End::Failed(format!("did not end within {} s", deadline.as_secs()));
                }
                Ok(Event::Interrupted) | Err(RecvTimeoutError::Disconnected) => {
                    kill(&mut child);
                    return End::Interrupted;
                }
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = child.wait().ok().and_then(|status| status.code());
        End::Said { code, stdout: text(stdout), stderr: text(stderr) }
    }
}

/// What a Rust program's end comes to; none if it was interrupted.
fn outcome(end: End) -> Option<Outcome> {
    let (code, stdout, stderr) = match end {
        End::Said { code, stdout, stderr } => (code, stdout, stderr),
        End::Failed(why) => return Some(Outcome::Failed(why)),
        End::Interrupted => return None,
    };
    let mut lines = stderr.lines().map(|line| line.trim_start_matches("error: ").trim());
    Some(match (code, serde_json::from_str(&stdout)) {
        (Some(0 | 1), Ok(document)) => Outcome::Ran(document),
        (Some(2), _) => Outcome::Refused(lines.next().unwrap_or("wrong flags").to_string()),
        (Some(0), Err(_)) => Outcome::Failed("its report is no JSON".into()),
        (Some(code), _) => {
            let why = lines.rfind(|line| !line.is_empty()).unwrap_or("it says no word");
            Outcome::Failed(format!("exit code {code}: {why}"))
        }
        (None, _) => Outcome::Failed("ended by a signal".into()),
    })
}

/// Reads all that the program says, in threads of their own: no pipe is ever full.
fn listen(child: &mut Child, number: usize, sender: Sender<Event>) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = |source: Option<Box<dyn Read + Send>>| {
        let mut bytes = Vec::new();
        // Killed in the middle of a word, it has said what it has said.
        let _ = source.map(|mut source| source.read_to_end(&mut bytes));
        bytes
    };
    let errors = thread::spawn(move || all(stderr.map(|s| Box::new(s) as Box<dyn Read + Send>)));
    thread::spawn(move || {
        let answer = all(stdout.map(|s| Box::new(s) as Box<dyn Read + Send>));
        let errors = errors.join().unwrap_or_default();
        sender.send(Event::Ended(number, answer, errors))
    });
}

/// Ends the program, and all that it has started.
fn kill(child: &mut Child) {
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let _ = child.wait();
}

/// Has the kernel end the program when this one ends, whatever the reason.
#[expect(unsafe_code, reason = "between fork and exec only a system call is allowed")]
fn ends_with_us(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: both calls take integers, touch no memory of ours, and are async-signal-safe.
        let (asked, now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        match asked {
            0 if now == parent as i32 => Ok(()),
            _ => Err(std::io::ErrorKind::Interrupted.into()),
        }
    };
    // SAFETY: `ask` allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}

/// A bar on a terminal, a line each elsewhere.
struct Progress {
    bar: ProgressBar,
    of: usize,
    lines: bool,
    at: std::cell::Cell<usize>,
}

impl Progress {
    fn new(of: usize) -> Progress {
        let lines = !stderr().is_terminal();
        let target =
            if lines { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(of as u64), target);
        let style = "{bar:20} {pos} of {len} · {wide_msg} {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("it is a template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar, of, lines, at: std::cell::Cell::new(0) }
    }

    fn say(&self, what: &str) {
        if self.lines {
            eprintln!("{what}");
        }
        self.bar.set_message(what.to_string());
    }

    fn next(&self, workload: &str, style: &str) {
        let at = self.at.replace(self.at.get() + 1);
        self.bar.set_position(at as u64);
        let what = format!("{workload} in {style}");
        if self.lines {
            eprintln!("{} of {}: {what}", at + 1, self.of);
        }
        self.bar.set_message(what);
    }

    /// Says at once what has no figures, and why.
    fn warn(&self, workload: &str, style: &str, outcome: &Outcome) {
        let (Outcome::Failed(why) | Outcome::Refused(why)) = outcome else { return };
        let line = format!("{workload} in {style}: {why}");
        if self.lines {
            eprintln!("{line}");
        }
        self.bar.println(line);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_shell(script: &str, deadline: Duration) -> Option<Outcome> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        outcome(Runner::without_signals().run(command, deadline))
    }

    #[test]
    fn a_document_is_taken_even_if_the_answer_is_wrong() {
        let ran = run_shell("echo '{\"ok\": false}'; exit 1", DEADLINE);
        assert!(matches!(ran, Some(Outcome::Ran(document)) if document["ok"] == false));
    }

    #[test]
    fn what_fails_says_why() {
        let failed = run_shell("echo 'error: the site is gone' >&2; exit 1", DEADLINE);
        let wanted = "exit code 1: the site is gone";
        assert!(matches!(failed, Some(Outcome::Failed(why)) if why == wanted));
        let refused = run_shell("echo 'error: 9 pages: too many' >&2; exit 2", DEADLINE);
        assert!(matches!(refused, Some(Outcome::Refused(why)) if why == "9 pages: too many"));
        let killed = run_shell("kill -9 $$", DEADLINE);
        assert!(matches!(killed, Some(Outcome::Failed(why)) if why == "ended by a signal"));
    }

    /// It never ends by itself; neither does what it has started, which holds the pipe open.
    #[test]
    fn what_hangs_is_ended_with_all_its_children() {
        let hung = run_shell("cat /dev/zero >/dev/null & wait", Duration::ZERO);
        assert!(matches!(hung, Some(Outcome::Failed(why)) if why == "did not end within 0 s"));
    }

    #[test]
    fn an_interruption_ends_what_runs() {
        let mut runner = Runner::without_signals();
        runner.sender.send(Event::Interrupted).expect("the receiver is there");
        let mut command = Command::new("sh");
        command.args(["-c", "cat /dev/zero >/dev/null"]);
        assert!(outcome(runner.run(command, DEADLINE)).is_none());
    }
}
