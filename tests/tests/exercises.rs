//! The exercises: every exercise fails with a sentence of its own, every solution is
//! green, and every exercise is in its program's README.
//!
//! Exercises are found by asking the programs' own tests. This builds them and takes a while, so
//! it is ignored, and `.ci/run` asks for it:
//! `cargo test -p tests --test exercises -- --ignored`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tests::programs::{target, without_cargos_words, workspace};
use tests::styles::STYLES;

/// The tests of one program.
struct Tests {
    package: String,
    executable: PathBuf,
}

impl Tests {
    /// Runs the tests with these arguments, as cargo does: in the package's folder.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new("timeout"); // for safety: an exercise ends within seconds
        command.args(["--kill-after=9", "120"]).arg(&self.executable).args(args);
        command.current_dir(self.folder()).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
        command.output().expect("coreutils are there")
    }

    /// The exercises' tests: all of them, or only those that are ignored.
    fn list(&self, only: &[&str]) -> BTreeSet<String> {
        let output = self.run(&[&["exercises::", "--list", "--format=terse"], only].concat());
        assert!(output.status.success(), "{}: no list of tests", self.package);
        let text = text(&output.stdout);
        text.lines().filter_map(|line| line.strip_suffix(": test")).map(String::from).collect()
    }

    fn folder(&self) -> PathBuf {
        workspace().join(&self.package)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Has cargo build the tests of all programs, and hears from it where they are.
fn build() -> Vec<Tests> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--workspace", "--bins", "--no-run", "--message-format=json"]);
    command.arg("--target-dir").arg(target()).current_dir(workspace());
    without_cargos_words(&mut command);
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("cargo is there: it has started these tests");
    assert!(output.status.success(), "cannot build the tests:\n{}", text(&output.stderr));
    let lines = output.stdout.split(|&b| b == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let tests = messages.filter_map(|message| {
        let executable = message["executable"].as_str().map(PathBuf::from)?;
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
        let package = folder.file_name()?.to_string_lossy().into_owned();
        Some(Tests { package, executable })
    });
    tests.collect()
}

#[test]
#[ignore = "builds all programs' tests: .ci/run does this"]
fn all_are_red_and_their_solutions_green() {
    let mut wrong = Vec::new();
    let mut sentences: BTreeMap<String, String> = BTreeMap::new();
    let mut programs: BTreeSet<String> = STYLES.iter().map(|style| style.program.into()).collect();
    for tests in build() {
        let package = &tests.package;
        let red = tests.list(&["--ignored"]);
        let all = tests.list(&[]);
        if !red.is_empty() {
            programs.remove(package);
        }
        let names: BTreeSet<&str> =
            red.iter().filter_map(|test| test.rsplit("::").next()).collect();
        let readme = fs::read_to_string(tests.folder().join("README.md")).unwrap_or_default();
        let green = tests.run(&["exercises::"]);
        if !green.status.success() {
            wrong.push(format!("{package}: a solution fails\n{}", text(&green.stdout)));
        }
        for test in &red {
            let name = test.rsplit("::").next().unwrap_or(test);
            let file = format!("{package}/src/exercises/{name}.rs");
            let failed = tests.run(&["--exact", test, "--ignored"]);
            match sentence(&text(&failed.stdout), test) {
                Some(sentence) if failed.status.code() == Some(101) => {
                    if let Some(other) = sentences.insert(sentence.clone(), file.clone()) {
                        wrong.push(format!("{file} and {other} say the same: {sentence}"));
                    }
                }
                _ => wrong.push(format!("{file} is not red with one sentence: {failed:?}")),
            }
            if !text(&green.stdout).contains(&format!("{test} ... ignored, fix {file}\n")) {
                wrong.push(format!("{test} does not name {file} where it is ignored"));
            }
            if !all.contains(&test.replace(name, &format!("solution_of_{name}"))) {
                wrong.push(format!("{test} has no solution_of_{name} beside it"));
            }
            if !has_row(&readme, package, name) {
                wrong.push(format!("{package}/README.md has no row for {name}, with its command"));
            }
        }
        for file in files(&tests.folder().join("src/exercises")) {
            let lines = fs::read_to_string(&file).map_or(0, |text| text.lines().count());
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let solution = file.with_file_name("solutions").join(format!("{name}.rs"));
            if !names.contains(&*name) || !solution.is_file() || lines > 40 {
                let file = file.display();
                wrong.push(format!("{file}: no test, no solution, or {lines} lines are over 40"));
            }
        }
    }
    if !programs.is_empty() {
        wrong.push(format!("programs without exercises: {programs:?}"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The exercise files, if the program has any.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files
        .retain(|file| file.is_file() && !file.ends_with("mod.rs") && !file.ends_with("checks.rs"));
    files
}

/// What a failed test says, if that is one line and nothing else: no panic, no backtrace.
fn sentence(stdout: &str, test: &str) -> Option<String> {
    let (_, said) = stdout.split_once(&format!("---- {test} stdout ----\n"))?;
    let (said, _) = said.split_once("\n\n\nfailures:")?;
    let sentence = said.strip_prefix("Error: ")?;
    (!sentence.is_empty() && !sentence.contains('\n')).then(|| sentence.to_string())
}

/// Whether a table links to the exercise and shows the command that tries it.
fn has_row(readme: &str, package: &str, name: &str) -> bool {
    let link = format!("](src/exercises/{name}.rs)");
    let command = format!("`cargo test -p {package} {name} -- --ignored`");
    readme.lines().any(|line| {
        line.starts_with('|') && line.contains(&link) && line.ends_with(&format!("{command} |"))
    })
}

#[test]
fn one_sentence_is_told_from_a_panic() {
    let failed = |said: &str| {
        let end = "failures:\n    a::b\n\ntest result: FAILED.";
        sentence(&format!("\nfailures:\n\n---- a::b stdout ----\n{said}\n\n\n{end}"), "a::b")
    };
    assert_eq!(failed("Error: it should be 3"), Some("it should be 3".into()));
    assert_eq!(failed("thread 'a::b' panicked at a.rs:1:1:\nno"), None);
    assert_eq!(failed("thread 'x' panicked at a.rs:1:1:\nno\nError: it should not panic"), None);
    assert_eq!(failed("Error: it should be 3\nand more"), None);
    assert_eq!(failed("Error: "), None);
    assert_eq!(sentence("test a::b ... ok", "a::b"), None);
}

#[test]
fn a_row_links_and_says_the_command() {
    let row = "| [x](src/exercises/x.rs) | wrong | T1 | `cargo test -p threads x -- --ignored` |";
    assert!(has_row(&format!("# A\n{row}\n"), "threads", "x"));
    assert!(!has_row(row, "threads", "y") && !has_row(row, "processes", "x"));
    assert!(!has_row(&row.replace("src/", ""), "threads", "x"));
}
