//! Two files, line beside line. Functions of the same name are side by side. Between them, dynamic
//! programming finds the pairing of lines that keeps the most common text.

use std::collections::HashMap;
use std::ops::Range;

use crate::marks::{self, Mark, similarity};
use crate::source::{Item, Line, Source};
use crate::tokens::{Class, Token};

/// Lines share at least this much, or they are no pair.
const SIMILAR: f64 = 0.55;
/// Functions that share less than this are shown from the top, unpaired.
const ALIKE: f64 = 0.4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Same,
    /// They differ only by `async` and `.await`.
    Async,
    /// They share at least [`SIMILAR`] of their tokens; what differs is marked.
    Similar,
    /// They have nothing in common, or one of them is missing.
    Apart,
}

/// A left line, a right line, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub left: Option<usize>,
    pub right: Option<usize>,
    pub kind: Kind,
    /// The tokens, of either side, that differ.
    pub marks: [Vec<(usize, Mark)>; 2],
    /// The left line, the right line is elsewhere on the other side.
    pub moved: [bool; 2],
}

/// A part that is shown as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Header,
    Imports,
    Function(&'a str),
    /// The lines between two functions that both files have.
    Between,
}

pub struct Aligned<'a> {
    pub parts: Vec<(Part<'a>, Vec<Row>)>,
    /// Lines that are alike, that differ only by `async`, and that differ.
    pub counts: [usize; 3],
}

/// Aligns two files. Every line of both appears once, in order.
pub fn align<'a>(left: &'a Source, right: &Source) -> Aligned<'a> {
    let lines = [&left.lines[..], &right.lines[..]];
    let mut parts = vec![
        (Part::Header, side_by_side(lines, 0..left.imports.start, 0..right.imports.start)),
        (Part::Imports, side_by_side(lines, left.imports.clone(), right.imports.clone())),
    ];
    let anchors = anchors(&left.items, &right.items);
    let next = |n: usize| {
        let next = anchors.get(n).map(|(one, other)| [one.lines.start, other.lines.start]);
        next.unwrap_or([left.lines.len(), right.lines.len()])
    };
    let mut from = [left.imports.end, right.imports.end];
    for (n, (one, other)) in anchors.iter().enumerate() {
        let [start, end] = [next(n), next(n + 1)];
        push(&mut parts, Part::Between, pair_or_not(lines, from[0]..start[0], from[1]..start[1]));
        let name = one.function.as_deref().expect("an anchor is a function");
        let rows = pair(lines, one.lines.clone(), other.lines.clone());
        from = [one.lines.end, other.lines.end];
        if alike(&rows, lines) >= ALIKE {
            push(&mut parts, Part::Function(name), rows);
        } else {
            // Lines that follow a function belong to it, on either side.
            let rows = side_by_side(lines, start[0]..end[0], start[1]..end[1]);
            push(&mut parts, Part::Function(name), rows);
            from = end;
        }
    }
    let end = next(anchors.len());
    push(&mut parts, Part::Between, pair_or_not(lines, from[0]..end[0], from[1]..end[1]));
    let code = || parts.iter().skip(2).flat_map(|(_, rows)| rows);
    let renames = marks::renames(code().map(|row| replacements(row, lines)));
    let twins = twins(code(), lines);
    for row in parts.iter_mut().skip(2).flat_map(|(_, rows)| rows) {
        finish(row, lines, &renames, &twins);
    }
    let counts = counts(parts.iter().skip(2).flat_map(|(_, rows)| rows), lines);
    Aligned { parts, counts }
}

fn push<'a>(parts: &mut Vec<(Part<'a>, Vec<Row>)>, part: Part<'a>, rows: Vec<Row>) {
    if !rows.is_empty() {
        parts.push((part, rows));
    }
}

/// Paired, if there is enough in common.
fn pair_or_not(lines: [&[Line]; 2], left: Range<usize>, right: Range<usize>) -> Vec<Row> {
    let rows = pair(lines, left.clone(), right.clone());
    if alike(&rows, lines) >= ALIKE { rows } else { side_by_side(lines, left, right) }
}

/// The functions that both files have, if they are in the same order.
fn anchors<'a, 'b>(left: &'a [Item], right: &'b [Item]) -> Vec<(&'a Item, &'b Item)> {
    let score = |i: usize, j: usize| {
        let same = left[i].function.is_some() && left[i].function == right[j].function;
        if same { 1.0 } else { 0.0 }
    };
    let pairs = best_pairs(left.len(), right.len(), score);
    pairs.into_iter().map(|(i, j)| (&left[i], &right[j])).collect()
}

/// The pairing in order, of `n` things with `m`, with the highest total score. A score of 0 means
/// no pair.
pub fn best_pairs(n: usize, m: usize, score: impl Fn(usize, usize) -> f64) -> Vec<(usize, usize)> {
    // best[i][j]: the highest score from i and j on.
    let mut best = vec![vec![0.0_f64; m + 1]; n + 1];
    let mut scores = vec![vec![0.0_f64; m]; n];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            scores[i][j] = score(i, j);
            let paired = if scores[i][j] > 0.0 { scores[i][j] + best[i + 1][j + 1] } else { 0.0 };
            best[i][j] = paired.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while i < n && j < m {
        let paired = scores[i][j] > 0.0 && scores[i][j] + best[i + 1][j + 1] >= best[i][j];
        if paired {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i + 1][j] >= best[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// Lines that belong together in one row; those between, side by side.
fn pair(lines: [&[Line]; 2], left: Range<usize>, right: Range<usize>) -> Vec<Row> {
    let score = |i: usize, j: usize| {
        let (one, other) = (&lines[0][left.start + i], &lines[1][right.start + j]);
        match kind(one, other) {
            // A line with few words is paired only if no other pair is lost by it.
            Kind::Same => match one.tokens.iter().filter(|t| t.class != Class::Blank).count() {
                0 => 0.2,
                1..=2 => 0.5,
                _ => 2.0,
            },
            Kind::Async => 1.9,
            Kind::Similar => similarity(&one.tokens, &other.tokens),
            Kind::Apart => 0.0,
        }
    };
    let pairs = best_pairs(left.len(), right.len(), score);
    let mut rows = Vec::new();
    let (mut i, mut j) = (left.start, right.start);
    let end = (left.len(), right.len());
    for (one, other) in pairs.into_iter().chain([end]) {
        let (one, other) = (left.start + one, right.start + other);
        rows.extend(side_by_side(lines, i..one, j..other));
        if one < left.end && other < right.end {
            let kind = kind(&lines[0][one], &lines[1][other]);
            rows.push(Row { kind, ..row(Some(one), Some(other)) });
        }
        (i, j) = (one + 1, other + 1);
    }
    rows
}

/// From the top, for any lines.
fn side_by_side(lines: [&[Line]; 2], left: Range<usize>, right: Range<usize>) -> Vec<Row> {
    let height = left.len().max(right.len());
    let at = |range: &Range<usize>, n: usize| range.clone().nth(n);
    let rows = (0..height).map(|n| row(at(&left, n), at(&right, n)));
    rows.map(|row| match (row.left, row.right) {
        (Some(one), Some(other)) => {
            let same = kind(&lines[0][one], &lines[1][other]) == Kind::Same;
            Row { kind: if same { Kind::Same } else { Kind::Apart }, ..row }
        }
        _ => row,
    })
    .collect()
}

fn row(left: Option<usize>, right: Option<usize>) -> Row {
    Row { left, right, kind: Kind::Apart, marks: [Vec::new(), Vec::new()], moved: [false; 2] }
}

fn kind(left: &Line, right: &Line) -> Kind {
    if left.text.trim() == right.text.trim() {
        // The end of a loop is not the end of a function.
        let says_something = left.text == right.text || words(&left.tokens) > 0;
        return if says_something { Kind::Same } else { Kind::Apart };
    }
    if left.without_async == right.without_async {
        return Kind::Async;
    }
    let similar = left.bag.similarity_at_most(&right.bag) >= SIMILAR
        && similarity(&left.tokens, &right.tokens) >= SIMILAR;
    if similar { Kind::Similar } else { Kind::Apart }
}

/// How much two functions have in common, from 0 to 1; blank lines do not count.
fn alike(rows: &[Row], lines: [&[Line]; 2]) -> f64 {
    let (mut common, mut all) = (0.0, 0.0);
    for row in rows {
        let [left, right] = texts(row, lines);
        let here = [left, right].into_iter().flatten().filter(|line| !line.text.is_empty());
        let here = here.count() as f64;
        all += here;
        common += here
            * match (row.kind, left, right) {
                (Kind::Same | Kind::Async, ..) => 1.0,
                (Kind::Similar, Some(one), Some(other)) => similarity(&one.tokens, &other.tokens),
                _ => 0.0,
            };
    }
    if all == 0.0 { 1.0 } else { common / all }
}

fn texts<'a>(row: &Row, lines: [&'a [Line]; 2]) -> [Option<&'a Line>; 2] {
    [row.left.map(|n| &lines[0][n]), row.right.map(|n| &lines[1][n])]
}

/// The names that are replaced by each other in a row of similar lines.
fn replacements(row: &Row, lines: [&[Line]; 2]) -> Vec<(String, String)> {
    match (row.kind, texts(row, lines)) {
        (Kind::Similar, [Some(one), Some(other)]) => {
            marks::replacements(&one.tokens, &other.tokens)
        }
        _ => Vec::new(),
    }
}

/// Lines that both files have, but in different places; how often.
fn twins<'a>(
    rows: impl Iterator<Item = &'a Row>,
    lines: [&[Line]; 2],
) -> HashMap<String, [usize; 2]> {
    let mut seen: HashMap<String, [usize; 2]> = HashMap::new();
    for row in rows.filter(|row| row.kind == Kind::Apart) {
        for (side, line) in texts(row, lines).into_iter().enumerate() {
            let says_something = |line: &&Line| words(&line.tokens) >= 3;
            if let Some(line) = line.filter(says_something) {
                seen.entry(line.text.trim().to_string()).or_default()[side] += 1;
            }
        }
    }
    seen.retain(|_, counts| counts[0] > 0 && counts[1] > 0);
    seen
}

fn words(tokens: &[Token]) -> usize {
    let says = |token: &&Token| !matches!(token.class, Class::Blank | Class::Punctuation);
    tokens.iter().filter(says).count()
}

/// Marks what differs in a row.
fn finish(
    row: &mut Row,
    lines: [&[Line]; 2],
    renames: &HashMap<String, String>,
    twins: &HashMap<String, [usize; 2]>,
) {
    let texts = texts(row, lines);
    if let (Kind::Similar | Kind::Async, [Some(one), Some(other)]) = (row.kind, texts) {
        row.marks = marks::between(&one.tokens, &other.tokens, renames);
    }
    if row.kind == Kind::Apart {
        let moved = |line: Option<&Line>| line.is_some_and(|l| twins.contains_key(l.text.trim()));
        row.moved = texts.map(moved);
    }
}

fn counts<'a>(rows: impl Iterator<Item = &'a Row>, lines: [&[Line]; 2]) -> [usize; 3] {
    let mut counts = [0; 3];
    for row in rows {
        let is_blank = texts(row, lines).into_iter().flatten().all(|line| line.text.is_empty());
        match row.kind {
            _ if is_blank => {}
            Kind::Same => counts[0] += 1,
            Kind::Async => counts[1] += 1,
            Kind::Similar | Kind::Apart => counts[2] += 1,
        }
    }
    counts
}
