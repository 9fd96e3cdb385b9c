//! `compare` as it is used: flags, tables, failures, Ctrl-C, and where tasks wait.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::programs::{target, without_cargos_words, workspace};
use tests::styles::STYLES;
use tests::traces::{MARK, leftovers};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    let page = target().join(format!("tmp/compare-{}.html", std::process::id()));
    command.args(args).arg("--html").arg(page).stdin(Stdio::null());
    without_cargos_words(&mut command);
    command
}

fn run(args: &[&str]) -> (String, String, i32) {
    let Output { stdout, stderr, status } = command(args).output().expect("it was built");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    (text(stdout), text(stderr), status.code().expect("it ends by itself"))
}

#[test]
fn wrong_flags_are_one_sentence_and_exit_2() {
    for (args, says) in [
        (&["nothing"][..], "no workload nothing"),
        (&["io-bound", "--styles", "threads,green"], "no style green"),
        (&["--pages", "3"], "no workload 3"),
        (&["--pages=3"], "belongs to one workload"),
        (&["io-bound", "--quiet"], "is for one program"),
        (&["io-bound", "--beats", "3", "--styles", "threads"], "unexpected argument"),
        (&["io-bound", "--pages", "many", "--styles", "threads"], "invalid value"),
        (&["--code", "threads", "on_tokio"], "WORKLOAD"),
        (&["--format", "pdf"], "invalid value"),
    ] {
        let (stdout, stderr, code) = run(args);
        assert_eq!((stdout.as_str(), code), ("", 2), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
}

#[test]
fn what_one_style_cannot_hold_is_a_row_that_says_why() {
    let args = ["io-bound", "--pages", "600", "--styles", "threads,processes", "--latency", "1ms"];
    let (stdout, stderr, code) = run(&args);
    assert_eq!(code, 0, "{stderr}");
    let row = stdout.lines().find(|line| line.starts_with("processes")).expect("a row");
    assert!(row.contains("not run: 600 pages: processes holds"), "{stdout}");
    assert!(stdout.lines().any(|line| line.starts_with("threads") && line.contains(" ms")));
    assert!(
        stdout.lines().all(|line| line.chars().count() <= 80 || line.contains('/')),
        "{stdout}"
    );
    assert!(stdout.trim_end().ends_with("html"), "the page's path comes last: {stdout}");
}

#[test]
fn an_earlier_run_is_drawn_again_without_running_anything() {
    let flags = ["pause", "--styles", "threads,on_smol"];
    let (document, stderr, code) = run(&[&flags[..], &["--format", "json"]].concat());
    assert_eq!(code, 0, "{stderr}");
    let file = target().join(format!("tmp/compare-{}.json", std::process::id()));
    fs::write(&file, &document).expect("it can be written");
    let from = ["--from", file.to_str().expect("it is text")];
    let (again, _, _) = run(&[&from[..], &["--format", "json"]].concat());
    assert_eq!(document, again);
    let (csv, stderr, _) = run(&[&from[..], &["--format", "csv"]].concat());
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(!stderr.contains("1 of"), "nothing is run: {stderr}");
    let (md, _, _) = run(&[&from[..], &["--format", "md"]].concat());
    assert!(md.contains("| on_smol |"), "{md}");
}

/// The document of a run in which the program of the second style has a different answer.
#[test]
fn another_answer_is_a_row_and_exit_1() {
    let flags = ["pause", "--styles", "threads,on_smol", "--format", "json"];
    let (document, _, _) = run(&flags);
    let mut document: Value = serde_json::from_str(&document).expect("one document");
    document["runs"][1]["outcome"]["ran"]["workloads"]["pause"]["answer"][0] = "1 2 4".into();
    let file = target().join(format!("tmp/compare-other-{}.json", std::process::id()));
    fs::write(&file, document.to_string()).expect("it can be written");
    let (table, _, code) = run(&["--from", file.to_str().expect("it is text")]);
    assert_eq!(code, 1);
    let row = table.lines().find(|line| line.starts_with("on_smol")).expect("a row");
    assert!(row.contains("another answer"), "{table}");
}

#[test]
fn two_files_beside_each_other_fit_the_terminal() {
    let (stdout, _, code) = run(&["--code", "threads", "on_tokio", "io-bound"]);
    assert_eq!(code, 0);
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "no color without a terminal");
    let place = |text: &str| stdout.find(text).unwrap_or_else(|| panic!("{text}: {stdout}"));
    assert!(place("threads · run") < place("on_tokio · run"));
    assert!(place("on_tokio · run") < place("threads · fetch"), "function by function");
    let wide =
        command(&["--code", "threads", "on_tokio", "io-bound"]).env("COLUMNS", "160").output();
    let wide = String::from_utf8(wide.expect("it was built").stdout).expect("it is text");
    assert!(wide.lines().any(|line| line.contains("spawn(move") && line.contains("spawn_local")));
    assert!(wide.lines().all(|line| line.chars().count() <= 160), "{wide}");
}

/// The line after which a task waits comes from the run, through a pipe if it is a process. The
/// source must have a waiting call there.
#[test]
fn every_wait_of_every_style_leads_to_its_line() {
    let (document, stderr, code) = run(&["io-bound", "--pages", "4", "--format", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&document).expect("one document");
    for (run, style) in document["runs"].as_array().expect("a list").iter().zip(&STYLES) {
        let spans = &run["outcome"]["ran"]["workloads"]["io-bound"]["spans"];
        let spans = spans.as_array().expect("a list");
        let waits: Vec<&Value> = spans.iter().filter(|span| span["kind"] == "waiting").collect();
        assert_eq!(waits.len(), 8, "{}: each page connects, then reads", style.name);
        for wait in waits {
            let file = wait["file"].as_str().unwrap_or_else(|| panic!("{}: {wait}", style.name));
            assert_eq!(file, style.file("io-bound").to_str().expect("it is text"));
            let text = fs::read_to_string(workspace().join(file)).expect("the file is there");
            let line = wait["line"].as_u64().expect("a line") as usize;
            let text = text.lines().nth(line - 1).expect("the line is there");
            let asks = ["Get::new(", ".request()", ".wants_more()"];
            assert!(asks.iter().any(|call| text.contains(call)), "{file}:{line}: {text}");
        }
    }
}

#[test]
fn ctrl_c_prints_what_is_there_and_leaves_no_process() {
    let mark = format!("compare-{}", std::process::id());
    let mut command = command(&["deadline", "--deadline", "20s", "--styles", "threads,processes"]);
    command.env(MARK, &mark).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it was built");
    let stderr = child.stderr.take().expect("it is a pipe");
    let lines = BufReader::new(stderr).lines().map_while(Result::ok);
    // The site that never answers is requested: only Ctrl-C ends this before the deadline.
    let begun = lines.into_iter().any(|line| line.starts_with("1 of 2"));
    assert!(begun);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let output = child.wait_with_output().expect("it is our child");
    assert_eq!(output.status.code(), Some(130));
    let table = String::from_utf8(output.stdout).expect("it is text");
    assert!(table.contains("interrupted"), "{table}");
    assert_eq!(leftovers(&mark), Vec::<String>::new());
}
