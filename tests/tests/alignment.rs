//! Side by side: the same files, the same functions in the same order, so that a diff of two
//! styles shows the styles and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use common::registry::WORKLOADS;
use tests::programs::workspace;
use tests::styles::{STYLES, Style};

fn names() -> impl Iterator<Item = &'static str> {
    WORKLOADS.iter().map(|workload| workload.name)
}

#[track_caller]
fn read(path: &Path) -> String {
    let text = fs::read_to_string(workspace().join(path));
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines that are not blank.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect()
}

// ---- the share of common lines -------------------------------------------------------------

/// Pairs of styles that are meant to be diffed.
const PAIRS: [(&str, &str); 7] = [
    ("threads", "gevent-style"),
    ("processes", "threads"),
    ("threads", "on_tokio"),
    ("on_tokio", "on_smol"),
    ("on_tokio", "on_async_std"),
    ("coroutines", "gevent-style"),
    ("twisted-style", "on_tokio"),
];

/// The minimum percentage of common lines of each pair: one workload per row, one figure per pair.
/// These figures only rise.
const SHARES: [(&str, [usize; 7]); 10] = [
    ("io-bound", [92, 83, 63, 88, 88, 82, 30]),
    ("cpu-bound", [71, 80, 55, 84, 86, 78, 39]),
    ("ordering", [69, 53, 42, 86, 86, 60, 40]),
    ("shared-state", [71, 45, 36, 93, 93, 57, 40]),
    ("interactivity", [66, 80, 42, 72, 80, 63, 30]),
    ("early-results", [33, 26, 28, 72, 72, 37, 24]),
    ("deadline", [56, 45, 41, 71, 71, 69, 27]),
    ("pause", [62, 29, 40, 68, 70, 25, 13]),
    ("resources", [88, 57, 51, 80, 80, 75, 24]),
    ("server", [91, 46, 31, 68, 71, 41, 21]),
];

#[test]
fn most_lines_are_common() {
    let mut wrong = Vec::new();
    for workload in names() {
        let found = PAIRS.map(|(one, other)| share(workload, one, other));
        let wanted = SHARES.iter().find(|(of, _)| *of == workload);
        let Some((_, wanted)) = wanted else {
            wrong.push(format!("SHARES has no row for it: ({workload:?}, {found:?})"));
            continue;
        };
        for ((pair, found), wanted) in PAIRS.iter().zip(found).zip(wanted) {
            if found < *wanted {
                wrong.push(format!("{workload}: {pair:?} have {found} % in common, not {wanted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The lines that two styles of a workload have in common, in percent of all their lines.
fn share(workload: &str, one: &str, other: &str) -> usize {
    let text = |name| {
        let style = STYLES.iter().find(|style| style.name == name);
        read(&style.expect("there is such a style").file(workload))
    };
    let (one, other) = (text(one), text(other));
    percent(&before_the_second(&one), &before_the_second(&other))
}

/// Functions that only some styles have, at the end of their files (`--way`).
const SECOND: [&str; 2] = ["thread_pool", "inline_callbacks"];

/// The lines before the first of these functions and its comment.
fn before_the_second(text: &str) -> Vec<&str> {
    let mut lines = lines(text);
    let second = |line: &&str| function(line).is_some_and(|name| SECOND.contains(&name));
    if let Some(at) = lines.iter().position(second) {
        lines.truncate(at);
        while lines.last().is_some_and(|line| line.starts_with("///")) {
            lines.pop();
        }
    }
    lines
}

fn percent(one: &[&str], other: &[&str]) -> usize {
    100 * 2 * common(one, other) / (one.len() + other.len())
}

/// The length of the longest common subsequence, row by row.
fn common(one: &[&str], other: &[&str]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for line in one {
        let mut corner = 0;
        for (n, candidate) in other.iter().enumerate() {
            let above = row[n + 1];
            row[n + 1] = if line == candidate { corner + 1 } else { above.max(row[n]) };
            corner = above;
        }
    }
    row[other.len()]
}

#[test]
fn common_lines_are_counted_in_order() {
    assert_eq!(common(&["a", "b", "c", "d"], &["b", "x", "d", "a"]), 2);
    assert_eq!(percent(&["a", "b"], &["a", "b"]), 100);
    assert_eq!(percent(&["a", "b", "c"], &["x"]), 0);
    assert_eq!(percent(&["a", "b", "c"], &["c"]), 50);
}

// ---- functions -----------------------------------------------------------------------------

/// The top-level functions that every style of a workload has, in this order.
const FUNCTIONS: [(&str, &[&str]); 10] = [
    ("io-bound", &["run", "fetch", "exchange", "connect", "bounded", "work"]),
    ("cpu-bound", &["run", "primes"]),
    ("ordering", &["run", "walk"]),
    ("shared-state", &["careless", "careful", "read_think_write", "with_the_lock", "run"]),
    ("interactivity", &["careless", "careful", "beat", "primes"]),
    ("early-results", &["run", "deliver"]),
    ("deadline", &["run"]),
    ("pause", &["run", "produce"]),
    ("resources", &["idle", "wait", "ring", "pass"]),
    ("server", &["run", "serve", "exchange"]),
];

/// Functions that a style does not have, and why. This list only shrinks.
const WITHOUT: [(&str, &str, &str, &str); 2] = [
    ("processes", "early-results", "deliver", "the page is the result of its process"),
    ("twisted-style", "early-results", "deliver", "the page is handed over by a callback"),
];

#[test]
fn the_same_functions_in_the_same_order() {
    for workload in names() {
        let wanted = FUNCTIONS.iter().find(|(of, _)| *of == workload);
        let (_, wanted) = wanted.unwrap_or_else(|| panic!("no functions for {workload:?}"));
        for style in &STYLES {
            let exempt = |name: &str| {
                WITHOUT.iter().any(|w| (w.0, w.1, w.2) == (style.name, workload, name))
            };
            let path = style.file(workload);
            let text = read(&path);
            let found: Vec<&str> = text.lines().filter_map(function).collect();
            let wanted = wanted.iter().filter(|name| !exempt(name));
            let mut rest = found.iter();
            for name in wanted {
                let is_there = rest.any(|found| found == name);
                assert!(is_there, "{}: {name} is missing in {found:?}", path.display());
            }
        }
    }
}

/// The name of the top-level function that begins in this line.
fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

// ---- sizes and headers ---------------------------------------------------------------------

/// Files that are longer, how long, and why. This list only shrinks.
const LARGER: [(&str, &str, usize, &str); 1] = [(
    "processes",
    "shared-state",
    110,
    "three acts: nothing is shared, what is shared loses updates, a lock that survives its holder",
)];

#[test]
fn a_workload_is_one_screen() {
    for (style, workload, path) in all() {
        let larger = LARGER.iter().find(|l| (l.0, l.1) == (style.name, workload));
        let most = match larger {
            Some((_, _, most, _)) => *most,
            None => match (workload, style.name) {
                ("server", "twisted-style") => 170,
                ("server", _) => 140,
                (_, "twisted-style") => 120,
                _ => 80,
            },
        };
        let size = before_the_second(&read(&path)).len();
        assert!(size <= most, "{workload:?}: {} has {size} lines of {most}", path.display());
    }
}

/// What the file does; how this style waits; the exact command that runs it.
#[test]
fn a_header_of_three_lines() {
    for (style, workload, path) in all() {
        let text = read(&path);
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let path = path.display();
        assert_eq!(header.len(), 3, "{path}");
        assert!(header[0].starts_with(&format!("//! {workload}: ")), "{path}");
        let event_loop = style.event_loop.map(|name| format!("--loop {name} "));
        let (package, event_loop) = (style.program, event_loop.unwrap_or_default());
        let command = format!("cargo run -p {package} -- {event_loop}{workload}");
        assert_eq!(header[2], format!("//! Run it: {command}"), "{path}");
    }
}

/// All headers of a workload begin with the same words.
#[test]
fn the_same_first_line() {
    for workload in names() {
        let mut firsts: Vec<String> = all()
            .filter(|(_, of, _)| *of == workload)
            .map(|(_, _, path)| read(&path).lines().next().unwrap_or_default().to_string())
            .collect();
        firsts.dedup();
        assert_eq!(firsts.len(), 1, "{firsts:#?}");
    }
}

/// Blocking lines leave room for an `.await`.
#[test]
fn blocking_lines_are_short() {
    const BLOCKING: [&str; 10] = [
        "TcpStream::",
        ".read(",
        ".write_all(",
        ".join()",
        ".recv()",
        "fetch(",
        "sleep(",
        "wait(",
        ".lock()",
        ".acquire()",
    ];
    for (_, _, path) in all().filter(|(style, _, _)| style.event_loop.is_none()) {
        let text = read(&path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code.filter(|line| BLOCKING.iter().any(|call| line.contains(call))) {
            assert!(line.chars().count() <= 80, "{}: {line}", path.display());
        }
    }
}

fn all() -> impl Iterator<Item = (Style, &'static str, PathBuf)> {
    STYLES.into_iter().flat_map(|style| {
        let path = move |workload| style.file(workload);
        names().map(move |workload| (style, workload, path(workload)))
    })
}

// ---- the workspace -------------------------------------------------------------------------

const MEMBERS: [&str; 8] = [
    "threads",
    "processes",
    "coroutines",
    "gevent-style",
    "twisted-style",
    "asyncio-style",
    "common",
    "tests",
];

#[test]
fn every_member_opts_into_the_lints() {
    let workspace = read(Path::new("Cargo.toml"));
    for member in MEMBERS {
        assert!(workspace.contains(&format!("\"{member}\"")), "{member}");
        let manifest = read(&Path::new(member).join("Cargo.toml"));
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{member}");
        for field in ["edition", "rust-version", "license", "publish"] {
            assert!(manifest.contains(&format!("\n{field}.workspace = true\n")), "{member}");
        }
    }
}

/// The pure part of every workload has a file of its own too.
#[test]
fn the_shared_part_of_every_workload() {
    for workload in names() {
        read(&Path::new("common/src/workload").join(workload.replace('-', "_") + ".rs"));
    }
}

/// Every source file that a README names is there.
#[test]
fn readmes_name_files_that_exist() {
    let mut readmes = vec![PathBuf::from("README.md")];
    readmes.extend(MEMBERS.map(|member| Path::new(member).join("README.md")));
    for readme in readmes.into_iter().filter(|readme| workspace().join(readme).exists()) {
        let text = read(&readme);
        let here = readme.parent().expect("a file lies in a folder");
        let part = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
        for word in text.split(|c| !part(c)).map(|word| word.trim_end_matches('.')) {
            let source = Path::new(word).extension().is_some_and(|end| end == "rs");
            if source && word.contains('/') && !word.starts_with('/') {
                // From the workspace, from the README, or from its sources.
                let places = [PathBuf::from(word), here.join(word), here.join("src").join(word)];
                let exists = places.iter().any(|place| workspace().join(place).exists());
                assert!(exists, "{}: {word}", readme.display());
            }
        }
    }
}
