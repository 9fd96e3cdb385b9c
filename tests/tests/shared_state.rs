//! shared-state: careless loses something in every run, careful never does.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::programs::{PROCESSES, THREADS, Version, run, workspace};
use tests::reports::{document, measured, verdict};

tests::for_every_version! {
    careful_is_exact,
    a_single_transfer,
    a_hundred_thousand_transfers_ten_times,
    careless_loses_on_one_core,
}

fn careful_is_exact(version: &Version) {
    let output = run(version, &["shared-state", "--quiet", "--transfers", "1000"]);
    assert_eq!(output.stderr, "");
    let line = "careful: 100000 before, 100000 after 4000 transfers\n";
    assert_eq!(output.answer(), line);
}

fn a_single_transfer(version: &Version) {
    let output = run(version, &["shared-state", "--quiet", "--transfers", "1"]);
    let line = "careful: 100000 before, 100000 after 4 transfers\n";
    assert_eq!(output.answer(), line);
}

/// The program itself compares every balance with what it should be, and fails if one is wrong.
fn a_hundred_thousand_transfers_ten_times(version: &Version) {
    let document = document(version, "shared-state", &["--transfers", "25000", "--repeat", "10"]);
    let section = &document["workloads"]["shared-state"];
    assert_eq!(section["ok"], true);
    loses_in_each_of(10, section);
}

fn careless_loses_on_one_core(version: &Version) {
    let document = document(version, "shared-state", &["--repeat", "5", "--cores", "1"]);
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
    for (version, claim) in [(&THREADS, "T11"), (&PROCESSES, "P8")] {
        let document = document(version, "shared-state", &[]);
        assert_eq!(verdict(&document, claim), "holds", "{document}");
    }
}

#[test]
fn processes_share_nothing_unless_asked_and_survive_the_holder_of_their_lock() {
    let measured = measured(&PROCESSES, "shared-state", &["--repeat", "5"]);
    assert_eq!(measured["untouched"], true);
    // Its balances are compared as those of careful are.
    assert_eq!(measured["orphaned_s"].as_array().expect("it was run").len(), 5);
}

// ---- what the compiler says ----------------------------------------------------------------

/// What `shared_state.rs` uses of `common`, as far as types go.
const COMMON: &str = "
    mod common { pub mod workload { pub mod shared_state {
        pub struct Bank;
        impl Bank {
            pub fn balances(&self) -> Vec<i64> { Vec::new() }
            pub fn tasks(&self) -> Vec<Vec<Transfer>> { Vec::new() }
        }
        #[derive(Clone, Copy)]
        pub struct Transfer { pub from: usize, pub to: usize, pub amount: i64 }
        pub struct Totals;
        impl FromIterator<i64> for Totals {
            fn from_iter<I: IntoIterator<Item = i64>>(_: I) -> Totals { Totals }
        }
        pub fn think() {}
    } } }
";

/// The version of the threads, and what becomes of it with plain numbers for atomic ones.
fn with_atomics() -> String {
    let file = workspace().join("threads/src/shared_state.rs");
    fs::read_to_string(file).expect("it is there") + COMMON
}

fn with_plain_numbers() -> String {
    let plain = [
        ("use std::sync::atomic::{AtomicI64, Ordering::Relaxed};", "use std::cell::Cell;"),
        ("Vec<AtomicI64>", "Vec<Cell<i64>>"),
        ("AtomicI64::new", "Cell::new"),
        (".load(Relaxed)", ".get()"),
        (".store(payer - amount, Relaxed)", ".set(payer - amount)"),
        (".store(payee + amount, Relaxed)", ".set(payee + amount)"),
    ];
    let mut source = with_atomics();
    for (atomic, number) in plain {
        assert!(source.contains(atomic), "{atomic}");
        source = source.replace(atomic, number);
    }
    source
}

#[test]
fn atomics_compile() {
    assert_eq!(errors(&with_atomics()), Vec::<String>::new());
}

/// E0277: `Cell<i64>` cannot be shared between threads safely.
#[test]
fn plain_numbers_are_not_let_into_two_threads() {
    assert_eq!(errors(&with_plain_numbers()), ["E0277"]);
}

/// E0499: two threads cannot both borrow the same accounts for writing.
#[test]
fn nobody_writes_while_another_one_may() {
    let source = "
        pub fn careless(balances: &mut [i64]) {
            std::thread::scope(|tasks| {
                tasks.spawn(|| balances[0] -= 1);
                ANOTHER
            });
        }";
    assert_eq!(errors(&source.replace("ANOTHER", "")), Vec::<String>::new());
    let another = "tasks.spawn(|| balances[0] += 1);";
    assert_eq!(errors(&source.replace("ANOTHER", another)), ["E0499"]);
}

/// The codes of the errors that rustc finds in a library.
fn errors(source: &str) -> Vec<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--edition", "2024", "--crate-type", "lib", "--crate-name", "bank"]);
    // Not to /dev/null: rustc puts its output in the place of what is there, and root may do that.
    command.args(["--emit", "metadata", "--out-dir", env!("CARGO_TARGET_TMPDIR")]);
    command.args(["--error-format", "json", "-"]);
    command.current_dir(workspace()).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut rustc = command.spawn().expect("rustc is there: it has compiled these tests");
    let mut input = rustc.stdin.take().expect("it is a pipe");
    input.write_all(source.as_bytes()).expect("rustc reads it");
    drop(input);
    let said = rustc.wait_with_output().expect("rustc ends").stderr;
    let lines = String::from_utf8(said).expect("rustc speaks UTF-8");
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors = messages.filter(|message| message["level"] == "error");
    errors.filter_map(|error| error["code"]["code"].as_str().map(String::from)).collect()
}
