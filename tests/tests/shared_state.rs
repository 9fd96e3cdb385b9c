//! shared-state: careless loses an update in every run, careful never does.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::programs::{run, workspace};
use tests::reports::{document, measured, verdict};
use tests::styles::{PROCESSES, Style, THREADS};

tests::for_every_style! {
    careful_is_exact,
    a_single_transfer,
    a_hundred_thousand_transfers,
    careless_loses_on_one_core,
}

fn careful_is_exact(style: &Style) {
    let output = run(style, &["shared-state", "--quiet", "--transfers", "1000"]);
    assert_eq!(output.stderr, "");
    let line = "careful: 100000 before, 100000 after 4000 transfers\n";
    assert_eq!(output.answer(), line);
}

fn a_single_transfer(style: &Style) {
    let output = run(style, &["shared-state", "--quiet", "--transfers", "1"]);
    let line = "careful: 100000 before, 100000 after 4 transfers\n";
    assert_eq!(output.answer(), line);
}

/// The program itself compares every balance with what it should be, and fails if one is wrong.
fn a_hundred_thousand_transfers(style: &Style) {
    let document = document(style, "shared-state", &["--transfers", "25000", "--repeat", "2"]);
    let section = &document["workloads"]["shared-state"];
    assert_eq!(section["ok"], true);
    loses_in_each_of(2, section);
}

fn careless_loses_on_one_core(style: &Style) {
    let document = document(style, "shared-state", &["--repeat", "5", "--cores", "1"]);
    loses_in_each_of(5, &document["workloads"]["shared-state"]);
}

fn loses_in_each_of(runs: usize, section: &Value) {
    let errors = section["measured"]["careless_errors"].as_array().expect("a list");
    assert_eq!(errors.len(), runs);
    for errors in errors {
        let mut errors = errors.as_array().expect("a number for each account").iter();
        assert!(errors.any(|error| error != 0), "nothing was lost: {section}");
    }
    assert_eq!(section["measured"]["careless_lost"], runs);
}

#[test]
fn threads_and_processes_lose_updates() {
    for (style, claim) in [(&THREADS, "T11"), (&PROCESSES, "P8")] {
        let document = document(style, "shared-state", &[]);
        assert_eq!(verdict(&document, claim), "holds", "{document}");
    }
}

#[test]
fn processes_share_nothing_unless_asked_and_survive_the_holder_of_their_lock() {
    let measured = measured(&PROCESSES, "shared-state", &["--repeat", "5"]);
    assert_eq!(measured["untouched"], true);
    // Its balances are compared in the same way as those of careful.
    assert_eq!(measured["orphaned_s"].as_array().expect("it was run").len(), 5);
}

// ---- what the compiler says ----------------------------------------------------------------

#[test]
fn plain_numbers_are_not_let_into_two_threads() {
    assert_eq!(errors("shared_cells", &["--cfg", "atomics"]), [""; 0]);
    assert_eq!(errors("shared_cells", &[]), ["E0277"]);
    // The file of threads has what the compiler allows.
    let threads = fs::read_to_string(workspace().join(THREADS.file("shared-state")));
    assert!(threads.expect("it is there").contains("balances: Vec<AtomicI64>"));
}

#[test]
fn only_one_task_may_write_at_a_time() {
    assert_eq!(errors("two_writers", &["--cfg", "alone"]), [""; 0]);
    assert_eq!(errors("two_writers", &[]), ["E0499"]);
}

/// The codes of the errors that rustc reports for a file of the folder `compile`.
fn errors(file: &str, flags: &[&str]) -> Vec<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--edition", "2024", "--crate-type", "lib"]).args(flags);
    // Not to /dev/null: rustc replaces the output file, and root may do that.
    command.args(["--emit", "metadata", "--out-dir", env!("CARGO_TARGET_TMPDIR")]);
    command.args(["--error-format", "json"]);
    command.arg(workspace().join("tests/tests/compile").join(file).with_extension("rs"));
    let output = command.current_dir(workspace()).stdin(Stdio::null()).output();
    let output = output.expect("rustc is there: it has compiled these tests");
    let lines = String::from_utf8(output.stderr).expect("rustc speaks UTF-8");
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors = messages.filter(|message| message["level"] == "error");
    let codes: Vec<String> =
        errors.filter_map(|error| error["code"]["code"].as_str().map(String::from)).collect();
    assert_eq!(output.status.success(), codes.is_empty(), "{lines}");
    codes
}
