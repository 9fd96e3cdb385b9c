//! The commands of the READMEs and of the leader's page are run, and their output is compared.
//!
//! A block marked `console` shows commands after `$ `, and below each of them exactly its stdout. A
//! block marked `sh` is a script. A block marked `text` is not run, and there is no other kind.
//! `cargo run` starts what the tests have built. Other cargo commands get a target folder of their
//! own, so that they do not rebuild what other tests run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tests::programs::{folder_with_cargo, without_cargos_words, workspace};
use tests::{SAFETY, traces};

/// The READMEs that have a test below.
const READMES: [&str; 8] = [
    "README.md",
    "threads/README.md",
    "processes/README.md",
    "coroutines/README.md",
    "gevent-style/README.md",
    "twisted-style/README.md",
    "asyncio-style/README.md",
    "tests/WORKSHOP.md",
];

#[test]
fn of_the_workspace() {
    run_all(READMES[0]);
}

#[test]
fn of_threads() {
    run_all(READMES[1]);
}

#[test]
fn of_processes() {
    run_all(READMES[2]);
}

#[test]
fn of_coroutines() {
    run_all(READMES[3]);
}

#[test]
fn of_gevent_style() {
    run_all(READMES[4]);
}

#[test]
fn of_twisted_style() {
    run_all(READMES[5]);
}

#[test]
fn of_asyncio_style() {
    run_all(READMES[6]);
}

#[test]
fn of_the_workshop() {
    run_all(READMES[7]);
}

#[test]
fn there_is_no_other() {
    let folders = fs::read_dir(workspace()).expect("it can be read").flatten();
    let mut found = vec![workspace().join("README.md"), workspace().join("tests/WORKSHOP.md")];
    found.extend(folders.map(|folder| folder.path().join("README.md")));
    found.retain(|readme| readme.exists());
    let mut known: Vec<PathBuf> = READMES.iter().map(|readme| workspace().join(readme)).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

/// A block of a README.
#[derive(Debug, PartialEq)]
struct Block<'a> {
    /// The number of its first line.
    line: usize,
    kind: &'a str,
    lines: Vec<&'a str>,
}

fn blocks(readme: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (line, text) in readme.lines().enumerate() {
        // Within a list the whole block is indented.
        match text.trim_start().strip_prefix("```") {
            Some(kind) if !inside => {
                blocks.push(Block { line: line + 1, kind, lines: Vec::new() });
                inside = true;
            }
            Some(_) => inside = false,
            None if inside => blocks.last_mut().expect("it has begun").lines.push(text),
            None => {}
        }
    }
    assert!(!inside, "a block without an end");
    blocks
}

fn run_all(readme: &str) {
    let text = fs::read_to_string(workspace().join(readme)).expect("there is one");
    let blocks = blocks(&text);
    let mut ran = 0;
    for block in &blocks {
        let place = format!("{readme}:{}", block.line);
        let lines = block.lines.join("\n");
        let itself = ["cargo test", "cargo bench", ".ci/run"].iter().any(|all| lines.contains(all));
        assert!(block.kind == "text" || !itself, "{place} would run this test; mark it as text");
        match block.kind {
            "console" => ran += commands(block, &place),
            "sh" => {
                run(&lines, &place);
                ran += 1;
            }
            "text" => {}
            other => panic!("{place}: is {other:?} to be run (console, sh) or not (text)?"),
        }
    }
    assert!(ran > 0, "{readme} shows nothing that can be run");
}

/// Runs the commands of a block. Returns how many there were.
fn commands(block: &Block, place: &str) -> usize {
    let mut shown: Vec<(&str, String)> = Vec::new();
    for line in &block.lines {
        match (line.strip_prefix("$ "), shown.last_mut()) {
            (Some(command), _) => shown.push((command, String::new())),
            (None, Some((_, expected))) => *expected += &[line, "\n"].concat(),
            (None, None) => panic!("{place} does not begin with a command"),
        }
    }
    for (command, expected) in &shown {
        let stdout = run(command, place);
        assert_eq!(&stdout, expected, "{place}: {command}");
    }
    shown.len()
}

/// Runs a script, which must succeed. Returns its output.
fn run(script: &str, place: &str) -> String {
    let mark = place.replace(['/', ':'], "-");
    let mut bash = Command::new("timeout"); // a safety timeout
    let safety = SAFETY.as_secs().to_string();
    bash.args(["--kill-after=9", &safety, "bash", "-euo", "pipefail", "-c", script]);
    without_cargos_words(&mut bash);
    let mut path = folder_with_cargo().into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    bash.env("PATH", path);
    bash.env("CARGO_TARGET_DIR", tests::programs::target().join("readme"));
    bash.env("CARGO_TERM_COLOR", "never").env("GIT_PAGER", "cat").env(traces::MARK, &mark);
    let output = bash.current_dir(workspace()).stdin(Stdio::null()).output();
    let output = output.expect("coreutils are there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: {script}\n{}\n{said}", output.status);
    assert_eq!(traces::leftovers(&mark), [""; 0], "{place}: {script}");
    String::from_utf8(output.stdout).expect("programs speak UTF-8")
}

// ---- the runner itself ---------------------------------------------------------------------

#[test]
fn blocks_are_found() {
    let readme = "# A\n```console\n$ echo a\na\n```\n- b\n  ```text\n  c\n  ```\n```\n```\n";
    let block = |line, kind, lines| Block { line, kind, lines };
    let expected = [
        block(2, "console", vec!["$ echo a", "a"]),
        block(7, "text", vec!["  c"]),
        block(10, "", vec![]),
    ];
    assert_eq!(blocks(readme), expected);
}

fn console(lines: &[&str]) -> usize {
    commands(&Block { line: 1, kind: "console", lines: lines.to_vec() }, "here")
}

#[test]
fn what_is_right_passes() {
    assert_eq!(
        console(&["$ echo a; echo b", "a", "b", "$ true", "$ printf 'x\\n\\ny\\n'", "x", "", "y"]),
        3
    );
}

/// Programs that are built are started with their arguments; other commands go to cargo.
#[test]
fn cargo_runs_what_is_built() {
    assert!(run("cargo run -qp threads -- list", "here").contains("io-bound "));
    assert!(run("cargo run --package threads -q -- ordering -h", "here").contains("--runs"));
    let example = "cargo run -qp coroutines --example step-1-round-robin";
    assert!(!run(example, "here").is_empty());
    assert!(run("cargo --version", "here").starts_with("cargo "));
    let wrong = ["-qp threadz", "-qp threads --example step-1-round-robin", "-qp threads --bin"];
    for wrong in wrong {
        let said = run(&format!("! cargo run {wrong} --locked 2>&1"), "here");
        assert!(said.starts_with("error: "), "{said}");
    }
}

#[test]
#[should_panic(expected = "here: echo a")]
fn other_output_fails() {
    console(&["$ echo a", "b"]);
}

#[test]
#[should_panic(expected = "here: echo a")]
fn output_that_is_not_shown_fails() {
    console(&["$ echo a"]);
}

#[test]
#[should_panic(expected = "exit status: 1")]
fn a_failure_within_a_pipe_fails() {
    console(&["$ false | true"]);
}
