//! The file of one workload in one style: its caption, its imports, its items, its waits.

use std::ops::Range;
use std::path::PathBuf;
use std::{fs, io};

use ::tests::programs::workspace;
use ::tests::styles::Style;

use crate::marks::{self, Bag};
use crate::tokens::{self, Class, Token};
use crate::waits::Finder;

pub struct Line {
    pub text: String,
    pub tokens: Vec<Token>,
    /// The tokens that name a waiting call.
    pub waits: Vec<usize>,
    pub without_async: String,
    pub bag: Bag,
}

/// A part of a file that is aligned as one: a function at the top level with its comment, or the
/// lines between two functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub function: Option<String>,
    pub lines: Range<usize>,
}

pub struct Source {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// How this style waits: the file's second line.
    pub caption: String,
    pub lines: Vec<Line>,
    /// All `use` lines, and the blank ones between.
    pub imports: Range<usize>,
    /// The lines after the imports, without a gap.
    pub items: Vec<Item>,
}

/// The workload's file in one style.
pub fn read(style: &Style, workload: &str) -> io::Result<Source> {
    let path = style.file(workload);
    let text = fs::read_to_string(workspace().join(&path))?;
    let finder = Finder::of(style.name);
    Ok(Source::new(path, &text, finder.as_ref()))
}

impl Source {
    pub fn new(path: PathBuf, text: &str, finder: Option<&Finder>) -> Source {
        let line = |(text, tokens): (&str, Vec<Token>)| {
            let waits = finder.map(|finder| finder.in_line(&tokens)).unwrap_or_default();
            let (without_async, bag) = (marks::without_async(&tokens), Bag::of(&tokens));
            Line { text: text.to_string(), tokens, waits, without_async, bag }
        };
        let lines: Vec<Line> = text.lines().zip(tokens::lines(text)).map(line).collect();
        let header = lines.iter().take_while(|line| line.text.starts_with("//!")).count();
        let imports = imports(&lines, header);
        let items = items(&lines, imports.end);
        let caption = lines.get(1).filter(|_| header > 1).map_or("", |line| &line.text);
        let caption = caption.trim_start_matches("//!").trim().to_string();
        Source { path, caption, lines, imports, items }
    }

    /// The names of the functions at the top level, in order.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|item| item.function.as_deref())
    }

    /// The text that replaces the imports when they are folded.
    pub fn imports_in_short(&self) -> String {
        let lines = self.lines[self.imports.clone()].iter().map(|line| line.text.as_str());
        let paths: Vec<&str> = lines.filter_map(|line| line.strip_prefix("use ")).collect();
        let mut short: Vec<String> = Vec::new();
        for path in paths.iter().filter(|path| !path.starts_with("common::")) {
            let path = path.trim_end_matches(';').replace("::{self", "::{");
            let parts: Vec<&str> = path.split("::").take_while(|p| !p.starts_with('{')).collect();
            let name = parts.iter().take(2).copied().collect::<Vec<_>>().join("::");
            if !short.contains(&name) {
                short.push(name);
            }
        }
        format!("{} imports: {}", paths.len(), short.join(", "))
    }

    /// The lines on which it waits, counted from 0.
    pub fn waiting_lines(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.lines.len()).filter(|&line| !self.lines[line].waits.is_empty())
    }

    /// Where a task waits that was last seen at this line, counted from 0: the first waiting call
    /// from there on.
    pub fn wait_after(&self, line: usize) -> Option<usize> {
        self.waiting_lines().find(|&waiting| waiting >= line)
    }

    /// The first line that calls `fetch` of another file.
    pub fn calls_fetch(&self) -> Option<usize> {
        let calls = |token: &Token| token.is("fetch") && token.class == Class::Function;
        self.lines.iter().position(|line| line.tokens.iter().any(calls))
    }

    /// The lines that start a task. The overview shows these, and those that wait.
    pub fn spawning_lines(&self) -> impl Iterator<Item = usize> {
        let spawns = |token: &Token| {
            let called = token.class == Class::Function;
            called && (token.text.starts_with("spawn") || token.text == "defer_to_thread")
        };
        (0..self.lines.len()).filter(move |&line| self.lines[line].tokens.iter().any(spawns))
    }
}

fn imports(lines: &[Line], from: usize) -> Range<usize> {
    let is_import = |line: &Line| line.text.starts_with("use ");
    let first = (from..lines.len()).find(|&n| is_import(&lines[n]));
    let Some(first) = first else { return from..from };
    let mut end = first;
    let mut inside = false; // an import over several lines
    for (n, line) in lines.iter().enumerate().skip(first) {
        inside |= is_import(line);
        if !inside && !line.text.is_empty() {
            break;
        }
        if inside {
            end = n + 1;
            inside = !line.text.ends_with(';');
        }
    }
    while lines.get(end).is_some_and(|line| line.text.is_empty()) {
        end += 1;
    }
    first..end
}

/// The name of the function at the top level that begins in this line.
fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

fn items(lines: &[Line], from: usize) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut done = from;
    for at in from..lines.len() {
        let Some(name) = function(&lines[at].text) else { continue };
        let belongs = |text: &str| text.starts_with("//") || text.starts_with("#[");
        let mut begin = at;
        while begin > done && belongs(&lines[begin - 1].text) {
            begin -= 1;
        }
        if begin > done {
            items.push(Item { function: None, lines: done..begin });
        }
        let closes = |&n: &usize| lines[n].text.ends_with('}') && !lines[n].text.starts_with(' ');
        done = (at..lines.len()).find(closes).map_or(lines.len(), |close| close + 1);
        while lines.get(done).is_some_and(|line| line.text.is_empty()) {
            done += 1;
        }
        items.push(Item { function: Some(name.to_string()), lines: begin..done });
    }
    if done < lines.len() {
        items.push(Item { function: None, lines: done..lines.len() });
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//! one: what\n//! How it waits.\n//! Run it: x\n\nuse std::io::{\n    \
        self, Read,\n};\nuse std::thread;\n\nuse common::BUFFER;\n\nstruct S;\n\n/// Runs.\n\
        pub fn run(\n    a: usize,\n) {\n    f();\n}\n\nimpl S {\n    fn inner() {}\n}\n\n\
        async fn exchange<T>(t: T) {}\n";

    #[test]
    fn a_file_is_divided_without_a_gap() {
        let source = Source::new("one.rs".into(), TEXT, None);
        assert_eq!(source.caption, "How it waits.");
        assert_eq!(source.imports, 4..11);
        assert_eq!(source.imports_in_short(), "3 imports: std::io, std::thread");
        assert_eq!(source.functions().collect::<Vec<_>>(), ["run", "exchange"]);
        let mut at = source.imports.end;
        for item in &source.items {
            assert_eq!(item.lines.start, at);
            at = item.lines.end;
        }
        assert_eq!(at, source.lines.len());
        assert_eq!(source.lines[source.items[1].lines.start].text, "/// Runs.");
    }
}
