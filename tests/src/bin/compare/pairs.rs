//! The alignment, tested on every pair of the real files.

use ::tests::styles::STYLES;
use common::registry::WORKLOADS;

use crate::alignment::{Aligned, Kind, Part, Row, align};
use crate::marks::Mark;
use crate::source::{self, Source};
use crate::waits::Finder;

fn source(style: &str, workload: &str) -> Source {
    let style = STYLES.iter().find(|known| known.name == style);
    source::read(style.expect("there is such a style"), workload).expect("it can be read")
}

/// Looks at each pair of styles on each workload.
fn every_pair(look: impl Fn(&str, &Source, &Source, &Aligned)) {
    for workload in &WORKLOADS {
        let read = |style: &&str| source(style, workload.name);
        let names = STYLES.map(|style| style.name);
        let sources: Vec<Source> = names.iter().map(read).collect();
        for (left, one) in sources.iter().enumerate() {
            for (right, other) in sources.iter().enumerate().skip(left) {
                let what = format!("{}: {} | {}", workload.name, names[left], names[right]);
                look(&what, one, other, &align(one, other));
            }
        }
    }
}

fn rows<'a>(aligned: &'a Aligned) -> impl Iterator<Item = &'a Row> {
    aligned.parts.iter().flat_map(|(_, rows)| rows)
}

#[test]
fn every_line_of_both_appears_once_and_in_order() {
    every_pair(|what, left, right, aligned| {
        let lefts: Vec<usize> = rows(aligned).filter_map(|row| row.left).collect();
        let rights: Vec<usize> = rows(aligned).filter_map(|row| row.right).collect();
        assert_eq!(lefts, (0..left.lines.len()).collect::<Vec<_>>(), "{what}");
        assert_eq!(rights, (0..right.lines.len()).collect::<Vec<_>>(), "{what}");
        assert!(rows(aligned).all(|row| row.left.or(row.right).is_some()), "{what}");
    });
}

#[test]
fn functions_of_the_same_name_meet() {
    every_pair(|what, left, right, aligned| {
        let both: Vec<&str> =
            left.functions().filter(|name| right.functions().any(|n| n == *name)).collect();
        let met: Vec<&str> = aligned
            .parts
            .iter()
            .filter_map(|(part, _)| match part {
                Part::Function(name) => Some(*name),
                _ => None,
            })
            .collect();
        assert_eq!(met, both, "{what}");
    });
}

#[test]
fn a_file_beside_itself_has_no_difference() {
    every_pair(|what, left, right, aligned| {
        if left.path == right.path {
            assert!(
                rows(aligned).all(|row| row.kind == Kind::Same && row.left == row.right),
                "{what}"
            );
        }
    });
}

#[test]
fn marks_lie_on_tokens_and_only_in_paired_rows() {
    every_pair(|what, left, right, aligned| {
        for row in rows(aligned) {
            let paired = matches!(row.kind, Kind::Similar | Kind::Async);
            assert!(paired || row.marks.iter().all(Vec::is_empty), "{what}: {row:?}");
            for (side, (number, source)) in
                [(row.left, left), (row.right, right)].into_iter().enumerate()
            {
                for (token, _) in &row.marks[side] {
                    let line = number.expect("a marked row has both lines");
                    assert!(*token < source.lines[line].tokens.len(), "{what}: {row:?}");
                }
            }
        }
    });
}

/// The main point must be visible at a glance: only the start of a task differs.
#[test]
fn threads_and_greenlets_differ_by_spawn_alone() {
    let (left, right) = (source("threads", "io-bound"), source("gevent-style", "io-bound"));
    let aligned = align(&left, &right);
    assert!(aligned.counts[2] <= 4, "{:?}", aligned.counts);
    let mut renamed = Vec::new();
    for row in rows(&aligned).filter(|row| row.kind == Kind::Similar) {
        let line = &left.lines[row.left.expect("it is paired")];
        let marks = row.marks[0].iter().filter(|(_, mark)| *mark == Mark::Renamed);
        renamed.extend(marks.map(|(token, _)| line.tokens[*token].text.as_str()));
    }
    renamed.dedup();
    assert_eq!(renamed, ["thread"]);
}

#[test]
fn async_alone_is_no_difference() {
    let (left, right) = (source("threads", "io-bound"), source("on_tokio", "io-bound"));
    let aligned = align(&left, &right);
    let lines = rows(&aligned).filter(|row| row.kind == Kind::Async);
    let lines: Vec<&str> =
        lines.filter_map(|row| row.right).map(|line| right.lines[line].text.trim()).collect();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(has("async fn run") && has("read(&mut buf).await"), "{lines:#?}");
}

#[test]
fn every_style_waits_in_its_io_bound_and_every_listed_call_is_there() {
    let mut unused = Vec::new();
    for style in &STYLES {
        let finder = Finder::of(style.name).expect("every style has a row");
        let mut seen = vec![false; finder.len()];
        for workload in &WORKLOADS {
            let source = source(style.name, workload.name);
            let lines = source.lines.iter();
            lines.for_each(|line| finder.mark_seen(&line.tokens, &mut seen));
            if workload.name == "io-bound" {
                assert!(source.waiting_lines().count() >= 3, "{}", style.name);
            }
        }
        unused.extend(finder.unseen(&seen).map(|call| format!("{}: {call}", style.name)));
    }
    assert!(unused.is_empty(), "these calls are nowhere: {unused:#?}");
}
