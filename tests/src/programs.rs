//! Every style by name: built once, run, or started and interrupted.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{self, SigHandler, Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::styles::Style;
use crate::{deadline, red, traces};

// ---- building ------------------------------------------------------------------------------

/// An executable, held open: if it is built again, the one that tests run is not changed.
struct Executable {
    /// As cargo knows it: `package/name`.
    key: String,
    file: File,
    path: PathBuf,
}

impl Executable {
    /// The path that runs it, as long as this program exists.
    fn command(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }
}

/// The programs and the examples, built in this profile and this target folder, once for all
/// tests.
fn programs() -> &'static [Executable] {
    static PROGRAMS: OnceLock<Vec<Executable>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        heed_interrupts();
        let (target, profile) = where_we_are();
        let folder = target.join("tmp");
        fs::create_dir_all(&folder).expect("the target folder can be written to");
        // Only one test program builds at a time, until it has opened what it has built.
        let lock = File::create(folder.join("programs.lock")).expect("it can be written to");
        lock.lock().expect("the file system has locks");
        let note = folder.join(format!("programs-{profile}.txt"));
        // nextest runs every test as a process; all of them belong to one run, and it builds once.
        let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_default();
        let known = fs::read_to_string(&note).unwrap_or_default();
        if run.is_empty() || known.lines().next() != Some(run.as_str()) {
            let built = build(&target, &profile);
            let line = |(key, path): &(String, PathBuf)| format!("\n{key}\t{}", path.display());
            let text = run + &built.iter().map(line).collect::<String>();
            fs::write(&note, text).expect("the target folder can be written to");
        }
        let known = fs::read_to_string(&note).expect("it was just written");
        let lines = known.lines().skip(1).filter_map(|line| line.split_once('\t'));
        let open = |(key, path): (&str, &str)| {
            let file = File::open(path).expect("cargo has built it");
            Executable { key: key.to_string(), file, path: path.into() }
        };
        lines.map(open).collect()
    })
}

/// Makes Ctrl-C end what this process starts, as in a terminal. A shell that starts a command in
/// the background has it ignore SIGINT, and so all its children, which tests interrupt.
#[expect(unsafe_code, reason = "a signal handler could do anything")]
pub fn heed_interrupts() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: the default needs no handler.
        let _ = unsafe { signal::signal(signal, SigHandler::SigDfl) };
    }
}

/// The target folder and the profile that this program was built with: a test program lies in
/// `TARGET/PROFILE/deps`, an example in `TARGET/PROFILE/examples`, any other in `TARGET/PROFILE`.
fn where_we_are() -> (PathBuf, String) {
    let here = std::env::current_exe().expect("/proc is mounted");
    let folder = here.parent().expect("a program lies in TARGET/PROFILE");
    let is_below = folder.ends_with("deps") || folder.ends_with("examples");
    let profile = if is_below { folder.parent() } else { Some(folder) };
    let profile = profile.expect("a program lies in TARGET/PROFILE");
    let target = profile.parent().expect("a test program lies in TARGET/PROFILE/deps");
    let name = profile.file_name().expect("it has a parent").to_string_lossy();
    let profile = if name == "debug" { "dev".into() } else { name.into_owned() };
    (target.to_path_buf(), profile)
}

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the workspace")
}

/// The folder in which cargo has built this test program, and builds the others.
pub fn target() -> PathBuf {
    where_we_are().0
}

/// Removes from a command that runs cargo the variables that cargo set for this program.
pub fn without_cargos_words(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
}

/// Lets cargo build the programs, and returns where they are.
fn build(target: &Path, profile: &str) -> Vec<(String, PathBuf)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--bins", "--examples", "--message-format=json"]);
    command.args(["--profile", profile, "--target-dir"]).arg(target).current_dir(workspace());
    without_cargos_words(&mut command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.expect("cargo is there: it has started these tests");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot build the programs:\n{said}");
    let lines = output.stdout.split(|&b| b == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let executable = |message: Value| {
        let path = message["executable"].as_str()?;
        let package = Path::new(message["manifest_path"].as_str()?).parent()?.file_name()?;
        let name = message["target"]["name"].as_str()?;
        Some((format!("{}/{name}", package.display()), path.into()))
    };
    messages.filter_map(executable).collect()
}

/// A folder with a `cargo`. Its `cargo run` starts what is already built; it passes everything else
/// to the real cargo. It works as long as this program exists.
pub fn folder_with_cargo() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let folder = target().join("tmp").join(format!("cargo-{}", process::id()));
        fs::create_dir_all(&folder).expect("the target folder can be written to");
        let rule = |executable: &Executable| {
            let Executable { key, path, .. } = executable;
            let (package, name) = key.split_once('/').expect("it was put together so");
            // `-p threads` is enough where the program is called as its package.
            let short = if package == name { format!("|{package}/") } else { String::new() };
            let (path, command) = (path.display(), executable.command());
            format!("    {key}|/{name}{short}) exec -a '{path}' {command} \"$@\" ;;\n")
        };
        let rules: String = programs().iter().map(rule).collect();
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let script = SCRIPT.replace("RULES", &rules).replace("CARGO", &cargo);
        let mut file = File::create(folder.join("cargo")).expect("it can be written to");
        file.write_all(script.as_bytes()).expect("the disk is not full");
        file.set_permissions(Permissions::from_mode(0o755)).expect("it is ours");
        folder
    };
    FOLDER.get_or_init(make).clone()
}

/// It handles only the exact forms that it knows.
const SCRIPT: &str = r#"#!/usr/bin/env bash
set -euo pipefail
all=("$@") package= name=
if [[ ${1-} == run ]]; then
    shift
    while [[ $# -gt 0 ]]; do
        case $1 in
        -q | --quiet) shift ;;
        -p | -qp | --package) package=${2-/} ;;&
        --bin | --example) name=${2-/} ;;&
        -p | -qp | --package | --bin | --example) shift $(($# > 1 ? 2 : 1)) ;;
        --) shift && break ;;
        *) package=/ && break ;;
        esac
    done
    case $package/$name in
RULES    esac
fi
exec CARGO "${all[@]}"
"#;

// ---- running -------------------------------------------------------------------------------

/// What a program has printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    /// As in a shell: 128 plus the number of the signal, if a signal ended the program.
    pub code: i32,
}

impl Output {
    /// Checks that no line of the program is wider than a terminal of 80 columns.
    #[track_caller]
    pub fn fits(&self) {
        for line in self.stdout.lines().chain(self.stderr.lines()) {
            let columns = line.chars().count();
            assert!(columns <= 80, "80 columns at most, not {columns}: {line}");
        }
    }

    /// What the program printed on stdout. It must have succeeded.
    #[track_caller]
    pub fn answer(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a program to its end.
pub fn run(style: &Style, args: &[impl AsRef<str>]) -> Output {
    start(style, args).finish()
}

/// The program of a style.
fn executable(style: &Style) -> &'static Executable {
    let key = format!("{0}/{0}", style.program);
    let executable = programs().iter().find(|executable| executable.key == key);
    executable.unwrap_or_else(|| panic!("{key} is not there"))
}

/// The command that starts a style on its loop. Builds it first, if necessary.
pub fn command(style: &Style) -> Command {
    let executable = executable(style);
    let mut command = Command::new(executable.command());
    command.arg0(&executable.path);
    command.args(style.choice());
    command
}

/// Starts a program, with pipes for its input and output.
pub fn start(style: &Style, args: &[impl AsRef<str>]) -> Running {
    Setup::new(style, args).start()
}

/// A program that is about to be started.
#[must_use]
pub struct Setup {
    command: Command,
    mark: String,
}

impl Setup {
    /// Of the environment of this program, only the search path is passed on.
    pub fn new(style: &Style, args: &[impl AsRef<str>]) -> Setup {
        Setup::wrapped(&[], style, args)
    }

    fn wrapped(wrapper: &[&str], style: &Style, args: &[impl AsRef<str>]) -> Setup {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        red::about(style.name);
        let mark = format!("{}-{}", process::id(), STARTED.fetch_add(1, Relaxed));
        let executable = executable(style);
        let path = executable.command();
        let mut command = match wrapper {
            [] => Command::new(&path),
            [shell, ..] => Command::new(shell),
        };
        if wrapper.is_empty() {
            command.arg0(&executable.path);
        } else {
            command.args(&wrapper[1..]).arg(&path);
        }
        command.env_clear().env(traces::MARK, &mark);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.args(style.choice());
        command.args(args.iter().map(AsRef::as_ref));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Setup { command, mark }
    }

    /// The program as a shell command starts it: in the shell it is `$0`, and its arguments are
    /// `$@`.
    pub fn in_shell(shell: &str, style: &Style, args: &[impl AsRef<str>]) -> Setup {
        Setup::wrapped(&["bash", "-c", shell], style, args)
    }

    /// Adds a variable to the program's environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.command.env(name, value);
        self
    }

    /// Changes how the program is started.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Setup {
        change(&mut self.command);
        self
    }

    pub fn start(mut self) -> Running {
        let child = self.command.spawn().expect("there is a process left");
        Running { child, mark: self.mark, deadline: deadline() }
    }

    pub fn run(self) -> Output {
        self.start().finish()
    }

    /// Runs the program on a terminal of so many columns and rows. Returns all that the terminal
    /// showed, and the exit code.
    pub fn run_on_terminal(self, (ws_col, ws_row): (u16, u16)) -> (String, i32) {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("there is a terminal");
        let copy = || slave.try_clone().expect("there is a descriptor left");
        let mut running = self
            .with(|command| {
                command.stdin(copy()).stdout(copy()).stderr(copy());
            })
            .start();
        drop(slave);
        let mut seen = Vec::new();
        let mut screen = Some(File::from(master));
        while screen.is_some() {
            readable(&[screen.as_ref().expect("it was just there")], running.deadline);
            read_some(&mut screen, &mut seen);
        }
        let code = shell_code(running.wait());
        (String::from_utf8(seen).expect("programs speak UTF-8"), code)
    }
}

/// A running program. It and all its processes end when this is dropped.
pub struct Running {
    child: Child,
    mark: String,
    deadline: Instant,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The mark of all processes of this program, even if their parent has ended.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it has not been waited for");
    }

    /// The input of the program. It ends when the returned value is dropped.
    pub fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it is a pipe, and taken once")
    }

    /// The output of the program, to be read by the caller.
    pub fn output(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("it is a pipe, and taken once")
    }

    /// The first line of the program's output; the rest of it is lost.
    pub fn first_line(&mut self) -> String {
        let stdout = self.output();
        readable(&[&stdout], self.deadline);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says something");
        line
    }

    /// Closes the reading end of the program's output, as `head` does.
    pub fn close_output(&mut self) {
        self.child.stdout = None;
    }

    /// Reads all output of the program, and waits for its end.
    pub fn finish(self) -> Output {
        self.finish_and(|_| ()).0
    }

    /// The same, and the result of `look` about the process, after its last output and before it is
    /// reaped.
    pub fn finish_and<T>(mut self, look: impl FnOnce(Pid) -> T) -> (Output, T) {
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (self.child.stdout.take(), self.child.stderr.take());
        // The end of both also shows that no child still holds them open.
        while out.is_some() || err.is_some() {
            let open = out.iter().map(AsFd::as_fd).chain(err.iter().map(AsFd::as_fd));
            readable(&open.collect::<Vec<_>>(), self.deadline);
            read_some(&mut out, &mut stdout);
            read_some(&mut err, &mut stderr);
        }
        let seen = look(self.pid());
        let code = shell_code(self.wait());
        let text = |bytes| String::from_utf8(bytes).expect("programs speak UTF-8");
        (Output { stdout: text(stdout), stderr: text(stderr), code }, seen)
    }

    /// Waits for the end of the program, but not of its children.
    pub fn wait(&mut self) -> ExitStatus {
        assert!(traces::ended(self.pid(), self.deadline), "the program does not end");
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in traces::marked(&self.mark) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

fn shell_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it has ended")
}

/// Waits until one of them can be read, or has ended.
fn readable(sources: &[impl AsFd], deadline: Instant) {
    let interest = |source| PollFd::new(source, PollFlags::POLLIN);
    let mut fds: Vec<PollFd> = sources.iter().map(|s| interest(s.as_fd())).collect();
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).expect("the safety timeout is short enough");
    let ready = poll(&mut fds, timeout).expect("no signal is caught here");
    assert!(ready > 0, "the program neither prints nor ends");
}

/// Reads what is there; at its end the source is dropped.
fn read_some<R: Read + AsFd>(source: &mut Option<R>, into: &mut Vec<u8>) {
    let Some(reader) = source else {
        return;
    };
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO).expect("no signal is caught here") == 0 {
        return;
    }
    let mut buf = [0; 16 * 1024];
    match reader.read(&mut buf) {
        // A terminal reports in this way that no process uses it any more.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => *source = None,
        Err(error) => panic!("a pipe can be read: {error}"),
        Ok(0) => *source = None,
        Ok(n) => into.extend_from_slice(&buf[..n]),
    }
}
