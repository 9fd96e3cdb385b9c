//! The talk's Python: the answers of the Rust programs, Ctrl-C, and its rows in `compare`.
//!
//! The interpreter is `COMPARE_PYTHON`, and then every package has to be there; without it
//! `python3`, and what it cannot run is left out, with a word.

use std::env;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tests::programs::{self, target, without_cargos_words, workspace};
use tests::sites::SiteByHand;
use tests::styles::{STYLES, Style, THREADS};
use tests::traces::{MARK, leftovers};

fn interpreter() -> PathBuf {
    env::var_os("COMPARE_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// Why it is left out; with an interpreter that was chosen nothing is.
fn left_out(what: &dyn std::fmt::Display, why: &str) {
    assert!(env::var_os("COMPARE_PYTHON").is_none(), "{what}: {why}");
    println!("left out: {what}: {why}");
}

fn is_there() -> bool {
    let found = Command::new(interpreter()).arg("--version").output().is_ok();
    if !found {
        left_out(&"the talk's Python", "no python3");
    }
    found
}

/// All Python files of a folder of a program.
fn files(program: &str) -> Vec<PathBuf> {
    let folder = workspace().join(program).join("python");
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "py")).collect();
    paths.sort();
    paths
}

/// The styles that have this file, one for each program.
fn with_file(name: &str) -> Vec<(&'static Style, PathBuf)> {
    let mut found: Vec<(&Style, PathBuf)> = Vec::new();
    for style in &STYLES {
        let path = workspace().join(style.program).join("python").join(name);
        if path.exists() && found.iter().all(|(_, known)| *known != path) {
            found.push((style, path));
        }
    }
    found
}

fn command(file: &Path, args: &[impl AsRef<str>]) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(file).args(args.iter().map(AsRef::as_ref));
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

/// What it prints; none if a package is missing.
fn answer(file: &Path, args: &[impl AsRef<str>]) -> Option<String> {
    let Output { status, stdout, stderr } = command(file, args).output().expect("it is there");
    let stderr = String::from_utf8_lossy(&stderr);
    if stderr.contains("ModuleNotFoundError") {
        left_out(&file.display(), stderr.lines().last().unwrap_or_default());
        return None;
    }
    assert!(status.success(), "{}: exit 0, not {status}: {stderr}", file.display());
    Some(String::from_utf8(stdout).expect("it is text"))
}

#[test]
fn files_have_60_lines_at_most_and_compile() {
    let programs = STYLES.iter().map(|style| style.program).chain(["common"]);
    let mut all: Vec<PathBuf> = programs.flat_map(files).collect();
    all.dedup();
    assert!(all.len() >= 12, "{all:?}");
    for file in &all {
        let text = std::fs::read_to_string(file).expect("it was just there");
        let lines = text.lines().filter(|line| !line.is_empty()).count();
        assert!(lines <= 60, "{}: 60 lines at most, not {lines}", file.display());
    }
    if is_there() {
        let check = "import sys; [compile(open(f).read(), f, 'exec') for f in sys.argv[1:]]";
        let compiled = Command::new(interpreter()).args(["-c", check]).args(&all).output();
        let compiled = compiled.expect("it is there");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
}

/// Errors included, to the byte.
#[test]
fn pages_are_those_of_the_rust_program() {
    if !is_there() {
        return;
    }
    let site = SiteByHand::start(&THREADS);
    let mut urls = vec![format!("{}/page/7", site.refused)];
    let pages =
        ["page/1", "page/10?delay=30", "status/404", "truncated", "malformed", "reset", "page/2"];
    urls.extend(pages.map(|page| format!("{}/{page}", site.url)));
    let programs = with_file("io_bound.py");
    assert_eq!(programs.len(), 5);
    for (style, file) in programs {
        let args: Vec<&str> =
            ["io-bound", "--quiet"].into_iter().chain(urls.iter().map(String::as_str)).collect();
        let rust = programs::run(style, &args);
        assert_eq!(rust.code, 1, "{}: a page is refused: {}", style.name, rust.stderr);
        if let Some(python) = answer(&file, &urls) {
            assert_eq!(python, rust.stdout, "{}", file.display());
        }
    }
}

#[test]
fn counts_are_those_of_the_rust_program() {
    if !is_there() {
        return;
    }
    let programs = with_file("cpu_bound.py");
    assert_eq!(programs.len(), 3);
    for (style, file) in programs {
        let args = ["cpu-bound", "--quiet", "--tasks", "3", "--below", "12000"];
        let rust = programs::run(style, &args).answer();
        if let Some(python) = answer(&file, &["3", "12000"]) {
            assert_eq!(python, rust, "{}", file.display());
        }
    }
}

/// The aside prints its table first, and what it measured after it.
#[test]
fn conversations_are_those_of_the_rust_program() {
    if !is_there() {
        return;
    }
    let (style, file) = with_file("delegation.py").remove(0);
    let rust = programs::run(style, &["delegation"]).answer();
    let python = answer(&file, &[""; 0]).expect("it needs no package");
    assert!(python.lines().count() > 6 && rust.contains(&python), "{python}\nis not in\n{rust}");
    let (style, file) = with_file("generators.py").remove(0);
    let rust = programs::run(style, &["generators"]).answer();
    let python = answer(&file, &[""; 0]).expect("it needs no package");
    for values in ["[4, 16]", "[1, 2, 3, 4, 5, 6, 7]"] {
        assert!(python.contains(values) && rust.contains(values), "{values}: {python}\n{rust}");
    }
}

#[test]
fn ctrl_c_ends_it_while_it_waits() {
    if !is_there() {
        return;
    }
    programs::heed_interrupts();
    for (_, file) in with_file("io_bound.py") {
        let mut site = SiteByHand::start(&THREADS);
        let urls = [1, 2].map(|n| format!("{}/stall?{n}", site.url));
        if answer(&file, &[""; 0]).is_none() {
            continue;
        }
        let mark = format!("python-{}-{}", std::process::id(), site.port);
        let mut command = command(&file, &urls);
        // A terminal sends the signal to the whole group.
        command.env(MARK, &mark).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().expect("it is there");
        let deadline = tests::deadline();
        while site.stats().most_open < 2 {
            assert!(std::time::Instant::now() < deadline, "{}: 2 requests", file.display());
        }
        killpg(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
        let output = child.wait_with_output().expect("it is our child");
        let by_signal = output.status.signal() == Some(Signal::SIGINT as i32);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(by_signal || !words.is_empty(), "{}: {words}", file.display());
        assert_eq!(leftovers(&mark), Vec::<String>::new(), "{}", file.display());
    }
}

/// The flag that has `compare` run this interpreter; none if it is left out.
fn with_python() -> Option<String> {
    is_there().then(|| format!("--python={}", interpreter().display()))
}

/// What `compare` prints, and its exit code.
fn compare(args: &[&str]) -> (String, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    let page = target().join(format!("tmp/compare-python-{}.html", std::process::id()));
    command.args(args).arg("--html").arg(page).stdin(Stdio::null());
    without_cargos_words(&mut command);
    let output = command.output().expect("it was built");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (text(output.stdout), text(output.stderr), output.status.code().expect("it ends by itself"))
}

#[test]
fn compare_runs_it_below_each_style() {
    let Some(python) = with_python() else { return };
    let args = ["io-bound", "--pages", "3", "--styles", "threads,gevent-style,on_smol", &python];
    let (table, stderr, code) = compare(&args);
    assert_eq!(code, 0, "{stderr}{table}");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("  CPython 3.")).collect();
    assert_eq!(rows.len(), 3, "{table}");
    for row in rows {
        let without_figures = row.contains("not run: no gevent");
        assert!(row.contains(" ms ") && row.ends_with("holds") || without_figures, "{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80 || line.contains('/')), "{table}");
}

/// Which verdict it is, no test can say: it may run on one core, or without a GIL.
#[test]
fn compare_judges_the_gil_by_it() {
    let Some(python) = with_python() else { return };
    let flags = ["cpu-bound", "--below", "20000", "--styles", "threads,processes", &python];
    let (csv, stderr, code) = compare(&[&flags[..], &["--format", "csv"]].concat());
    assert_eq!(code, 0, "{stderr}{csv}");
    assert_eq!(csv.lines().filter(|line| line.contains(",CPython 3.")).count(), 2, "{csv}");
    let (table, _, _) = compare(&flags);
    for id in ["T5", "T8", "T9"] {
        let says = |line: &&str| line.starts_with(&format!("{id} on CPython 3."));
        assert_eq!(table.lines().filter(says).count(), 1, "{table}");
    }
}

#[test]
fn what_cannot_be_run_says_why() {
    let none = ["io-bound", "--styles", "threads", "--pages", "2", "--python=/nowhere/python3"];
    let (stdout, stderr, code) = compare(&none);
    assert_eq!((stdout.as_str(), code), ("", 2), "{stderr}");
    assert!(stderr.contains("/nowhere/python3"), "{stderr}");
    if let Some(python) = with_python() {
        let args = ["io-bound", "--styles", "threads", "--pages", "2", "--at-once", "1", &python];
        let (table, _, code) = compare(&args);
        assert!(table.contains("not run: --at-once is for the Rust programs"), "{table}");
        assert_eq!(code, 0);
    }
}
