//! Imports go one way: within `common` in the order of the table below, within a program from its
//! machinery to the workloads, the asides, the exercises and `main`. No files form a circle.
//!
//! Every path counts that begins with `crate`, `super`, `self` or a module declared in the same
//! file, in any place: `value_parser = crate::cli::duration` counts as much as a `use`. Comments,
//! strings and code that is compiled only for tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::registry::WORKLOADS;
use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};
use tests::programs::workspace;
use tests::styles::STYLES;

/// The files of `common` in an order in which each uses only those before it. An entry that ends in
/// a slash is a folder: its files may use each other.
const ORDER: &str = "
    error limits units machine span claims
    http/page http/body http/request http/conn
    workload/io_bound workload/cpu_bound workload/
    http/get style report/
    partner/child partner/poller
    partner/site/listener partner/site/answers partner/site/client partner/site/control
    partner/site/web partner/site/handle partner/site/program partner/load
    measure/context measure/io_bound measure/cpu_bound measure/
    registry cli program";

// ---- what the tests ask --------------------------------------------------------------------

#[test]
fn common_has_an_order() {
    let order: Vec<&str> = ORDER.split_whitespace().collect();
    let place = |file: &str| {
        let exact = order.iter().position(|place| *place == file);
        let folder = || order.iter().position(|p| p.ends_with('/') && file.starts_with(p));
        exact.or_else(folder).unwrap_or_else(|| panic!("{file} has no place in ORDER"))
    };
    let back = |(from, to): &(&String, &String)| place(from) < place(to);
    let uses = uses("common/src");
    let wrong: Vec<_> = pairs(&uses).filter(back).collect();
    assert!(wrong.is_empty(), "these go back in ORDER: {wrong:#?}");
}

#[test]
fn programs_have_an_order() {
    for program in programs() {
        let source = format!("{program}/src");
        let ten: BTreeSet<String> = STYLES
            .iter()
            .filter(|style| style.program == program)
            .flat_map(|style| WORKLOADS.iter().map(|workload| style.file(workload.name)))
            .filter_map(|file| Some(module(file.strip_prefix(&source).ok()?)))
            .collect();
        let place = |file: &str| match file {
            // Exercises are built only for tests, and use the same as tests.
            _ if file.is_empty() || file.starts_with("exercises/") => 4,
            _ if file.starts_with("asides/") => 3,
            _ if file.ends_with("io_bound") && ten.contains(file) => 1,
            _ if ten.contains(file) => 2,
            _ => 0,
        };
        let back = |(from, to): &(&String, &String)| place(from) < place(to);
        let uses = uses(&source);
        let wrong: Vec<_> = pairs(&uses).filter(back).collect();
        assert!(wrong.is_empty(), "{program}: {wrong:#?}");
    }
}

#[test]
fn no_files_form_a_circle() {
    for member in programs().into_iter().chain(["common"]) {
        let found = circle(&uses(&format!("{member}/src")));
        assert!(found.is_empty(), "{member}: {}", found.join(" → "));
    }
}

fn programs() -> BTreeSet<&'static str> {
    STYLES.iter().map(|style| style.program).collect()
}

// ---- files that use each other -------------------------------------------------------------

/// A file by its module's path, `http/page`, with the files that it uses. The root is the empty
/// path.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn pairs(uses: &Uses) -> impl Iterator<Item = (&String, &String)> {
    uses.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
}

/// All files below a folder that are not only tests, and which of them each uses.
fn uses(source: &str) -> Uses {
    let mut texts = BTreeMap::new();
    read_all(&workspace().join(source), Path::new(""), &mut texts);
    let files: BTreeSet<String> = texts.keys().cloned().collect();
    texts.iter().map(|(file, text)| (file.clone(), used(file, text, &files))).collect()
}

fn read_all(root: &Path, folder: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(folder)).expect("it can be read").flatten() {
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            read_all(root, &path, texts);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(entry.path()).expect("it is a file");
            texts.insert(module(&path), text);
        }
    }
    if folder.ends_with("tests") {
        texts.retain(|file, _| !Path::new(file).starts_with(folder));
    }
}

/// The module of a file.
fn module(path: &Path) -> String {
    let path = path.with_extension("").to_string_lossy().into_owned();
    match path.as_str() {
        "main" | "lib" => String::new(),
        path => path.strip_suffix("/mod").unwrap_or(path).to_string(),
    }
}

/// A circle, if there is one: its files, with the first of them again at the end.
fn circle(uses: &Uses) -> Vec<String> {
    // A file that uses nothing that is left is not part of a circle.
    let mut left = uses.clone();
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, all| all.iter().any(|file| names.contains(file)));
        if left.len() == before {
            break;
        }
    }
    let mut path: Vec<String> = left.keys().take(1).cloned().collect();
    while let Some(last) = path.last() {
        let next = left[last].iter().find(|file| left.contains_key(*file));
        let next = next.expect("each of them uses one that is left").clone();
        let begin = path.iter().position(|file| *file == next);
        path.push(next);
        if let Some(begin) = begin {
            return path.split_off(begin);
        }
    }
    path
}

// ---- paths in a text -----------------------------------------------------------------------

/// Which of `files` the text of `file` uses, except itself.
fn used(file: &str, text: &str, files: &BTreeSet<String>) -> BTreeSet<String> {
    let mut scan = Scan { words: words(text), at: 0, found: BTreeSet::new() };
    let here = file.split('/').filter(|part| !part.is_empty()).map(String::from).collect();
    scan.module(here);
    // The longest beginning of a path that is a file is the file of that path.
    let leads_to = |path: &Vec<String>| {
        let beginnings = (0..=path.len()).rev().map(|n| path[..n].join("/"));
        beginnings.into_iter().find(|beginning| files.contains(beginning))
    };
    scan.found.iter().filter_map(leads_to).filter(|used| used != file).collect()
}

/// The identifiers and signs of a text, `::` in one piece; no comments, strings or numbers.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut at): (Vec<&str>, usize) = (Vec::new(), 0);
    for token in tokenize(text, FrontmatterAllowed::No) {
        let word = &text[at..at + token.len as usize];
        at += token.len as usize;
        match token.kind {
            TokenKind::Colon if text[..at].ends_with("::") && words.last() == Some(&":") => {
                words.pop();
                words.push("::");
            }
            TokenKind::Whitespace
            | TokenKind::LineComment { .. }
            | TokenKind::BlockComment { .. }
            | TokenKind::Literal { .. }
            | TokenKind::Lifetime { .. } => {}
            _ => words.push(word),
        }
    }
    words
}

struct Scan<'a> {
    words: Vec<&'a str>,
    at: usize,
    /// Paths from the root, as far as they are written in the text.
    found: BTreeSet<Vec<String>>,
}

impl Scan<'_> {
    fn next_are(&self, words: &[&str]) -> bool {
        self.words[self.at..].starts_with(words)
    }

    /// Reads to the end of the module whose path is `here`.
    fn module(&mut self, here: Vec<String>) {
        let declared: BTreeSet<String> = self.children();
        let mut depth = 0;
        while let Some(&word) = self.words.get(self.at) {
            let path_begins = self.words.get(self.at + 1) == Some(&"::")
                && (self.at == 0 || self.words[self.at - 1] != "::");
            match word {
                "#" if self.next_are(&["#", "[", "cfg", "(", "test", ")", "]"]) => self.skip_item(),
                "mod" if self.words.get(self.at + 2) == Some(&"{") => {
                    let inner = [&here[..], &[self.words[self.at + 1].to_string()]].concat();
                    self.at += 3;
                    self.module(inner);
                }
                "{" => {
                    depth += 1;
                    self.at += 1;
                }
                "}" if depth == 0 => {
                    self.at += 1;
                    return;
                }
                "}" => {
                    depth -= 1;
                    self.at += 1;
                }
                "crate" if path_begins => self.path(Vec::new()),
                "self" if path_begins => self.path(here.clone()),
                "super" if path_begins => self.path(here[..here.len().saturating_sub(1)].to_vec()),
                child if path_begins && declared.contains(child) => {
                    self.path([&here[..], &[child.to_string()]].concat());
                }
                _ => self.at += 1,
            }
        }
    }

    /// The modules that are files of their own and are declared in this file.
    fn children(&self) -> BTreeSet<String> {
        let declared = |three: &[&str]| matches!(three, ["mod", _, ";"]);
        let three = self.words[self.at..].windows(3).filter(|three| declared(three));
        three.map(|three| three[1].to_string()).collect()
    }

    /// Past an attribute and the item that it belongs to.
    fn skip_item(&mut self) {
        let mut depth = 0;
        while let Some(&word) = self.words.get(self.at) {
            self.at += 1;
            match word {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                ";" if depth == 0 => return,
                _ => {}
            }
        }
    }

    /// The path, or the tree of paths, that begins with the current word.
    fn path(&mut self, mut so_far: Vec<String>) {
        self.at += 1;
        while self.next_are(&["::"]) {
            self.at += 1;
            match self.words.get(self.at).copied() {
                Some("super") => {
                    so_far.pop();
                    self.at += 1;
                }
                Some("{") => {
                    self.at += 1;
                    while !self.next_are(&["}"]) && self.at < self.words.len() {
                        match self.words[self.at] {
                            "," | "as" | "_" => self.at += 1,
                            "self" | "*" => {
                                self.found.insert(so_far.clone());
                                self.at += 1;
                            }
                            name => self.path([&so_far[..], &[name.to_string()]].concat()),
                        }
                    }
                    self.at += 1;
                    return;
                }
                Some(name) if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                    so_far.push(name.to_string());
                    self.at += 1;
                }
                Some("*") => {
                    self.at += 1;
                    break;
                }
                _ => break, // the arguments of a type
            }
        }
        self.found.insert(so_far);
    }
}

// ---- the scan itself -----------------------------------------------------------------------

/// What a text in the file `a/b` uses of some files.
fn of(text: &str) -> Vec<String> {
    let files = ["", "a", "a/b", "a/b/deep", "a/c", "cli", "units"].map(String::from);
    used("a/b", text, &files.into()).into_iter().collect()
}

#[test]
fn every_path_is_an_edge() {
    for (text, to) in [
        ("use crate::cli;", &["cli"][..]),
        ("use crate::cli::{Flags, parse as read};", &["cli"]),
        ("use crate::{a::{c::{self, X}, b}, units::*};", &["a/c", "units"]),
        ("#[arg(value_parser = crate::cli::duration)] n: u8", &["cli"]),
        ("fn f() -> crate::units::Time { super::c::go() }", &["a/c", "units"]),
        ("use super::super::cli::X;", &["cli"]),
        ("use super::*;", &["a"]),
        ("mod deep; pub use deep::Thing;", &["a/b/deep"]),
        ("mod deep; fn f() { self::deep::go(); }", &["a/b/deep"]),
        ("mod inner { use super::super::c::X; }", &["a/c"]),
        ("pub use crate::re_exported_at_the_root;", &[""]),
    ] {
        assert_eq!(of(text), to, "{text}");
    }
}

#[test]
fn other_text_is_not_an_edge() {
    for text in [
        "// use crate::cli;",
        "/* crate::cli */ const S: &str = \"crate::cli::X\";",
        "const R: &str = r#\"crate::cli\"#;",
        "pub(crate) fn f() {} pub(super) fn g() {}",
        "#[cfg(test)] mod tests { use crate::cli; fn f() { { } } }",
        "#[cfg(test)] mod tests; use std::io;",
        "#[cfg(test)] use crate::cli;",
        "mod deep; use std::deep::X;",
        "use crate::a::b::Own;",
    ] {
        assert_eq!(of(text), [""; 0], "{text}");
    }
    // Code after a test module counts again.
    assert_eq!(of("#[cfg(test)] mod tests { } use crate::cli;"), ["cli"]);
}

#[test]
fn circles_are_found() {
    let uses = |pairs: &[(&str, &str)]| -> Uses {
        let mut uses = Uses::new();
        for (from, to) in pairs {
            uses.entry((*from).to_string()).or_default().insert((*to).to_string());
            uses.entry((*to).to_string()).or_default();
        }
        uses
    };
    assert_eq!(circle(&uses(&[("a", "b"), ("b", "c"), ("a", "c")])), [""; 0]);
    assert_eq!(circle(&uses(&[("a", "b"), ("b", "c"), ("c", "b")])), ["b", "c", "b"]);
}
