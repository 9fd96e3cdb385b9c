//! The links of the READMEs lead to files that exist, and to the line of what they name.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace is around it").into()
}

fn readmes() -> Vec<PathBuf> {
    let entries = fs::read_dir(root()).expect("the workspace can be read");
    let folders = entries.flatten().map(|entry| entry.path());
    let mut readmes: Vec<_> = folders.map(|folder| folder.join("README.md")).collect();
    readmes.extend([root().join("README.md"), root().join("tests/WORKSHOP.md")]);
    readmes.retain(|readme| readme.is_file());
    readmes
}

/// The links of a text: the text shown, and the target.
fn links(text: &str) -> Vec<(&str, &str)> {
    let pieces = text.split("](").collect::<Vec<_>>();
    let mut links = Vec::new();
    for two in pieces.windows(2) {
        let shown = two[0].rsplit('[').next().unwrap_or_default();
        let target = two[1].split(')').next().unwrap_or_default();
        links.push((shown, target));
    }
    links
}

/// Whether `source` defines what `name` calls `module::function` or `Type::method`.
fn defines(source: &str, name: &str) -> bool {
    let last = name.rsplit("::").next().unwrap_or(name);
    ["fn ", "struct ", "enum ", "trait ", "type "].iter().any(|kind| {
        let definition = format!("{kind}{last}");
        let mut found = source.match_indices(&definition);
        found.any(|(at, found)| {
            let next = source[at + found.len()..].chars().next();
            next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

#[test]
fn every_link_leads_somewhere() {
    let mut checked = 0;
    for readme in readmes() {
        let text = fs::read_to_string(&readme).expect("it was just found");
        let folder = readme.parent().expect("it lies somewhere");
        for (shown, target) in links(&text) {
            if target.starts_with("http") {
                continue;
            }
            let path = folder.join(target.split('#').next().unwrap_or(target));
            assert!(path.exists(), "{}: {target} does not exist", readme.display());
            if let Some(name) = shown.strip_prefix('`').and_then(|s| s.strip_suffix('`'))
                && path.is_file()
            {
                let source = fs::read_to_string(&path).expect("a file with a name in it");
                let line = target.split("#L").nth(1).map(|n| n.parse().expect("a number"));
                let place =
                    line.map_or(&source[..], |n: usize| source.lines().nth(n - 1).unwrap_or(""));
                assert!(defines(place, name), "{}: no {name} in {target}", readme.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "only {checked} names were found: has the form of the links changed?");
}

#[test]
fn a_missing_name_is_found() {
    let source = "pub fn gather<T>(tasks: T) {}\npub struct Queue<T>(T);";
    assert!(defines(source, "waiting::gather") && defines(source, "Queue"));
    assert!(!defines(source, "waiting::gather_all") && !defines(source, "gath"));
}

#[test]
fn links_are_found() {
    let text = "see [a](b.rs), [`c::d`](e.rs#f) and nothing";
    assert_eq!(links(text), [("a", "b.rs"), ("`c::d`", "e.rs#f")]);
}
