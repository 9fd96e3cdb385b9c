//! Which words of two similar lines differ.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::alignment::best_pairs;
use crate::tokens::{Class, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Differs,
    /// `async` or `.await`.
    Async,
    /// A name that is always replaced by the same other name, at least twice.
    Renamed,
}

impl Mark {
    /// The letter it has in the page.
    pub fn letter(self) -> char {
        match self {
            Mark::Differs => 'd',
            Mark::Async => 'g',
            Mark::Renamed => 'r',
        }
    }
}

/// The share of their tokens that two lines have in common, in order, from 0 to 1. A word counts
/// as two dots.
pub fn similarity(one: &[Token], other: &[Token]) -> f64 {
    let weigh = |tokens: &[Token]| -> f64 { tokens.iter().map(weight).sum() };
    let all = weigh(one) + weigh(other);
    let common: f64 = common(one, other).iter().map(|&(i, _)| weight(&one[i])).sum();
    if all == 0.0 { 0.0 } else { 2.0 * common / all }
}

/// The words of a line, sorted, so that two lines can be compared without regard to order.
pub struct Bag {
    words: Vec<(String, f64)>,
    weight: f64,
}

impl Bag {
    pub fn of(tokens: &[Token]) -> Bag {
        let words = tokens.iter().filter(|token| token.class != Class::Blank);
        let mut words: Vec<_> = words.map(|token| (token.text.clone(), weight(token))).collect();
        words.sort_by(|a, b| a.0.cmp(&b.0));
        Bag { weight: words.iter().map(|(_, weight)| weight).sum(), words }
    }

    /// The maximum of [`similarity`].
    pub fn similarity_at_most(&self, other: &Bag) -> f64 {
        let (mut i, mut j, mut common) = (0, 0, 0.0);
        while let (Some(one), Some(two)) = (self.words.get(i), other.words.get(j)) {
            match one.0.cmp(&two.0) {
                Ordering::Less => i += 1,
                Ordering::Greater => j += 1,
                Ordering::Equal => {
                    common += one.1;
                    (i, j) = (i + 1, j + 1);
                }
            }
        }
        2.0 * common / (self.weight + other.weight).max(1.0)
    }
}

fn weight(token: &Token) -> f64 {
    match token.class {
        Class::Blank => 0.0,
        Class::Punctuation => 1.0,
        _ => 2.0,
    }
}

/// The tokens that both lines have, in order, as pairs of indices.
fn common(one: &[Token], other: &[Token]) -> Vec<(usize, usize)> {
    best_pairs(one.len(), other.len(), |i, j| {
        if one[i].text == other[j].text { weight(&one[i]) } else { 0.0 }
    })
}

/// A line without `async` and `.await`, and without blanks.
pub fn without_async(tokens: &[Token]) -> String {
    let words = tokens.iter().filter(|token| token.class != Class::Blank);
    let mut rest: Vec<&str> = Vec::new();
    for token in words {
        if token.is("await") {
            rest.pop();
        } else if !token.is("async") {
            rest.push(&token.text);
        }
    }
    rest.join(" ")
}

/// What is between the common tokens: a run on either side, and one of them may be empty.
fn hunks(one: &[Token], other: &[Token]) -> Vec<[Vec<usize>; 2]> {
    let mut hunks = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (a, b) in common(one, other).into_iter().chain([(one.len(), other.len())]) {
        let words = |tokens: &[Token], from: usize, to: usize| -> Vec<usize> {
            (from..to).filter(|&n| tokens[n].class != Class::Blank).collect()
        };
        let hunk = [words(one, i, a), words(other, j, b)];
        if hunk.iter().any(|side| !side.is_empty()) {
            hunks.push(hunk);
        }
        (i, j) = (a + 1, b + 1);
    }
    hunks
}

/// The names that are replaced by each other, one for one.
pub fn replacements(one: &[Token], other: &[Token]) -> Vec<(String, String)> {
    let names = |hunk: &[Vec<usize>; 2]| match (&hunk[0][..], &hunk[1][..]) {
        (&[i], &[j]) if one[i].is_name() && other[j].is_name() => {
            Some((one[i].text.clone(), other[j].text.clone()))
        }
        _ => None,
    };
    hunks(one, other).iter().filter_map(names).collect()
}

/// The names that are always replaced by the same name, and at least twice.
pub fn renames(rows: impl Iterator<Item = Vec<(String, String)>>) -> HashMap<String, String> {
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    for (from, to) in rows.flatten() {
        seen.entry(from).or_default().push(to);
    }
    let always = |(from, to): (String, Vec<String>)| {
        let same = to.len() > 1 && to.iter().all(|name| *name == to[0]);
        same.then(|| (from, to[0].clone()))
    };
    seen.into_iter().filter_map(always).collect()
}

/// The tokens, of either line, that the other does not have.
pub fn between(
    one: &[Token],
    other: &[Token],
    renames: &HashMap<String, String>,
) -> [Vec<(usize, Mark)>; 2] {
    let mut marks = [Vec::new(), Vec::new()];
    for hunk in hunks(one, other) {
        let renamed = match (&hunk[0][..], &hunk[1][..]) {
            (&[i], &[j]) => renames.get(&one[i].text) == Some(&other[j].text),
            _ => false,
        };
        for (side, line) in [one, other].into_iter().enumerate() {
            for &n in &hunk[side] {
                let is_async = is_async(line, n);
                let mark = match () {
                    () if renamed => Mark::Renamed,
                    () if is_async => Mark::Async,
                    () => Mark::Differs,
                };
                marks[side].push((n, mark));
            }
        }
    }
    for (side, line) in [one, other].into_iter().enumerate() {
        marks[side] = with_blanks(&marks[side], line);
    }
    marks
}

fn is_async(line: &[Token], n: usize) -> bool {
    let dot = line[n].is(".") && line.get(n + 1).is_some_and(|next| next.is("await"));
    dot || line[n].is("async") || line[n].is("await")
}

/// A blank between two marked words is marked as well, so that they are seen as one.
fn with_blanks(marks: &[(usize, Mark)], line: &[Token]) -> Vec<(usize, Mark)> {
    let mut all: Vec<(usize, Mark)> = Vec::new();
    for &(n, mark) in marks {
        if let Some(&(last, before)) = all.last() {
            let one_blank = n == last + 2 && line[last + 1].class == Class::Blank;
            if one_blank && before == mark {
                all.push((last + 1, mark));
            }
        }
        all.push((n, mark));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::lines;

    fn marked(one: &str, other: &str) -> [String; 2] {
        let (one, other) = (lines(one).remove(0), lines(other).remove(0));
        let words = |side: &[(usize, Mark)], line: &[Token]| {
            let word = |&(n, mark): &(usize, Mark)| format!("{}{}", mark.letter(), line[n].text);
            side.iter().map(word).collect::<Vec<_>>().join(" ")
        };
        let marks = between(&one, &other, &HashMap::new());
        [words(&marks[0], &one), words(&marks[1], &other)]
    }

    #[test]
    fn spawn_is_marked_and_fetch_is_not() {
        let [left, right] = marked(
            "tasks.push(thread::spawn(move || fetch(job)));",
            "tasks.push(task::spawn_local(fetch(job)));",
        );
        assert_eq!(left, "dthread dspawn dmove d  d| d|");
        assert_eq!(right, "dtask dspawn_local");
    }

    #[test]
    fn an_await_is_a_difference_of_its_own() {
        let [left, right] = marked("let n = a.read(b)?;", "let n = c.read(b).await?;");
        assert_eq!((left.as_str(), right.as_str()), ("da", "dc g. gawait"));
    }

    #[test]
    fn lines_that_differ_by_async_alone() {
        let same = |one: &str, other: &str| {
            without_async(&lines(one)[0]) == without_async(&lines(other)[0])
        };
        assert!(same("fn f(a: A) {", "async fn f(a: A) {"));
        assert!(same("let n = s.read(b)?;", "let n = s.read(b).await?;"));
        assert!(!same("task.join()", "task.await"));
    }

    #[test]
    fn a_name_replaced_twice_by_the_same_is_renamed() {
        let pair = |a: &str, b: &str| vec![(a.to_string(), b.to_string())];
        let twice = renames([pair("thread", "greenlet"), pair("thread", "greenlet")].into_iter());
        assert_eq!(twice.get("thread").map(String::as_str), Some("greenlet"));
        let torn = renames([pair("thread", "greenlet"), pair("thread", "task")].into_iter());
        assert!(torn.is_empty() && renames([pair("a", "b")].into_iter()).is_empty());
    }
}
