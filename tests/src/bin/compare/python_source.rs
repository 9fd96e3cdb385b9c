//! A Python file on the page: its lines as tokens, and the parts that stand beside those of a Rust
//! file.

use std::ops::Range;
use std::path::PathBuf;
use std::{fs, io};

use ::tests::programs::workspace;

use crate::tokens::{Class, Token};

pub struct PythonSource {
    /// From the workspace's folder.
    pub path: PathBuf,
    pub lines: Vec<Vec<Token>>,
    /// What stands behind the docstring: the imports as `use`, each function and class at the top
    /// level by its name, and what ends the file without one.
    pub parts: Vec<(String, Range<usize>)>,
}

pub fn read(path: PathBuf) -> io::Result<PythonSource> {
    let text = fs::read_to_string(workspace().join(&path))?;
    let parts = parts(&text);
    Ok(PythonSource { path, lines: lines(&text), parts })
}

fn parts(text: &str) -> Vec<(String, Range<usize>)> {
    let lines: Vec<&str> = text.lines().collect();
    let is_end = |line: &str| line.len() > 3 && line.ends_with("\"\"\"") || line == "\"\"\"";
    let docstring = lines.iter().position(|line| is_end(line)).map_or(0, |end| end + 1);
    let name = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let rest = line.strip_prefix("def ").or_else(|| line.strip_prefix("class "))?;
        rest.split(['(', ':']).next().map(String::from)
    };
    let mut parts: Vec<(String, Range<usize>)> = Vec::new();
    for (n, line) in lines.iter().enumerate().skip(docstring) {
        let begins = match name(line) {
            Some(name) => Some(name),
            None if line.starts_with("if ") && !parts.is_empty() => Some(String::new()),
            None => parts.is_empty().then(|| "use".into()),
        };
        match (begins, parts.last_mut()) {
            (Some(name), _) => parts.push((name, n..n + 1)),
            (None, Some((_, lines))) => lines.end = n + 1,
            (None, None) => {}
        }
    }
    // Blank lines that only part two functions say nothing here.
    for (_, part) in &mut parts {
        while part.start < part.end && lines[part.end - 1].is_empty() {
            part.end -= 1;
        }
        while part.start < part.end && lines[part.start].is_empty() {
            part.start += 1;
        }
    }
    parts
}

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// The text, a list of tokens for each line. Put together again, they are the text.
fn lines(text: &str) -> Vec<Vec<Token>> {
    let mut in_docstring = false;
    text.lines().map(|line| tokens(line, &mut in_docstring)).collect()
}

fn tokens(line: &str, in_docstring: &mut bool) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let (length, class) = if *in_docstring || rest.starts_with("\"\"\"") {
            let inside = if *in_docstring { 0 } else { 3 };
            let end = rest[inside..].find("\"\"\"");
            *in_docstring = end.is_none();
            (end.map_or(rest.len(), |end| inside + end + 3), Class::Comment)
        } else {
            match first {
                ' ' => (run(rest, |c| c == ' '), Class::Blank),
                '#' => (rest.len(), Class::Comment),
                '"' => (string(rest), Class::String),
                'f' if rest.starts_with("f\"") => (1 + string(&rest[1..]), Class::String),
                '0'..='9' => (run(rest, |c| c.is_alphanumeric() || c == '_'), Class::Number),
                c if c.is_alphabetic() || c == '_' => {
                    let length = run(rest, |c| c.is_alphanumeric() || c == '_');
                    (length, word(&rest[..length], &rest[length..]))
                }
                c => (c.len_utf8(), Class::Punctuation),
            }
        };
        let (text, behind) = rest.split_at(length);
        tokens.push(Token { text: text.to_string(), class });
        rest = behind;
    }
    tokens
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// How long the string in double quotes is that the text begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            c => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

fn word(text: &str, rest: &str) -> Class {
    match text {
        text if KEYWORDS.contains(&text) => Class::Keyword,
        text if text.starts_with(char::is_uppercase) => Class::Type,
        _ if rest.starts_with('(') => Class::Function,
        _ => Class::Name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\"\"\"one\ntwo\n\"\"\"\n\nimport x\n\n\ndef run(a):\n    \
        \"\"\"Says.\"\"\"\n    return f\"{a}\\\"\" + 1  # why\n\n\nclass Page(P):\n    pass\n\n\n\
        if __name__ == \"__main__\":\n    run(1)\n";

    #[test]
    fn nothing_of_a_python_file_is_lost() {
        let text = |line: &Vec<Token>| line.iter().map(|t| t.text.as_str()).collect::<String>();
        let again: Vec<String> = lines(TEXT).iter().map(text).collect();
        assert_eq!(again.join("\n") + "\n", TEXT);
    }

    #[test]
    fn words_and_strings_are_told_apart() {
        let line = &lines(TEXT)[9];
        let classes: String = line.iter().map(|token| token.class.letter()).collect();
        assert_eq!(classes, ".k.s...n.c");
    }

    #[test]
    fn a_python_file_is_taken_apart_by_its_names() {
        let parts = parts(TEXT);
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["use", "run", "Page", ""]);
        assert_eq!(parts[1].1, 7..10);
    }
}
