//! The page: a template, and everything that it shows as JSON, so that its script only places it.

use std::collections::HashMap;

use ::tests::styles::{STYLES, Style};
use common::registry::WORKLOADS;
use serde_json::{Value, json};

use crate::alignment::{Aligned, Kind, Part, Row, align};
use crate::marks::Mark;
use crate::record::{Record, Run};
use crate::source::{self, Source};
use crate::tokens::{Class, Token};
use crate::{badges, picture, python, python_source, table};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page, without any other file.
pub fn html(record: &Record) -> String {
    // Inside a script element, only `<` could end it.
    let data = data(record).to_string().replace('<', "\\u003c");
    let page = TEMPLATE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
    page.replace("/*DATA*/", &data)
}

/// Every different line once; files refer to it by its index.
#[derive(Default)]
struct Lines {
    places: HashMap<(String, String), usize>,
    all: Vec<Value>,
}

impl Lines {
    /// The tokens in `waits` name a waiting call.
    fn place(&mut self, tokens: &[Token], waits: &[usize]) -> usize {
        let text: String = tokens.iter().map(|token| token.text.as_str()).collect();
        let classes = classes(tokens, waits);
        *self.places.entry((text.clone(), classes.clone())).or_insert_with(|| {
            self.all.push(json!([text, classes]));
            self.all.len() - 1
        })
    }
}

fn data(record: &Record) -> Value {
    let mut lines = Lines::default();
    let workloads: Vec<Value> =
        WORKLOADS.iter().filter_map(|workload| one(record, workload, &mut lines)).collect();
    let of_python = python::claims(record);
    let claims = table::claims(record).into_iter().map(|(id, slide, says, verdicts)| {
        let styles = STYLES.iter().map(|style| {
            let run = record.styles().iter().position(|name| *name == style.name);
            run.map_or_else(|| json!(["not run", ""]), |at| json!(verdicts[at]))
        });
        let mut verdicts: Vec<Value> = styles.collect();
        if record.python.is_some() {
            let judged = of_python.iter().find(|(judged, _)| *judged == id);
            verdicts.push(judged.map_or_else(
                || json!(["", ""]),
                |(_, verdict)| json!([verdict.word(), verdict.evidence()]),
            ));
        }
        json!([id, slide, says, verdicts])
    });
    let claims: Vec<Value> = claims.collect();
    let python = record.python.as_ref().map(|python| &python.name);
    let document = record.runs.iter().find_map(Run::document);
    let about = document.map(|document| {
        let machine = &document["machine"];
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_string();
        json!({"profile": document["profile"], "cores": document["cores"],
            "cpu": text(&machine["cpu"]), "kernel": text(&machine["kernel"]),
            "date": text(&document["date"]), "commit": text(&document["commit"])})
    });
    json!({"styles": STYLES.map(|style| style.name), "python": python, "workloads": workloads,
        "lines": lines.all, "claims": claims, "about": about, "columns": table::COLUMNS,
        "conclusions": table::conclusions(record), "flags": record.flags.join(" ")})
}

/// One workload: its files, their pairs, and the runs; `None` if a file cannot be read.
fn one(record: &Record, workload: &common::registry::Workload, lines: &mut Lines) -> Option<Value> {
    let name = workload.name;
    let sources: Vec<Source> =
        STYLES.iter().map(|style| source::read(style, name)).collect::<Result<_, _>>().ok()?;
    let mut pairs = serde_json::Map::new();
    for left in 0..sources.len() {
        for right in left + 1..sources.len() {
            let aligned = align(&sources[left], &sources[right]);
            let pair = pair(&aligned, &sources[left], &sources[right]);
            pairs.insert(format!("{left}-{right}"), pair);
        }
    }
    let runs: Vec<Option<&Run>> = STYLES.iter().map(|style| record.run(name, style.name)).collect();
    let extents = runs.iter().flatten().filter_map(|run| picture::extent(run.section()?));
    let step = badges::step(extents.map(|(_, length)| length).max().unwrap_or(0));
    let mut pictures: Vec<Option<Value>> = Vec::new();
    for (source, run) in sources.iter().zip(&runs) {
        pictures.push(run.map(|run| drawn(record, run, source, step)));
    }
    let files: Vec<Value> = sources.iter().map(|source| file(source, lines)).collect();
    let python: Vec<Option<Value>> =
        STYLES.iter().map(|style| beside(record, style, name, lines)).collect();
    let rows: Vec<Value> =
        record.rows(name).map(|(name, run)| measured(record, &name, run)).collect();
    let answer = record.of(name).find_map(Run::answer);
    Some(json!({"name": name, "slides": workload.slides, "about": workload.about, "files": files,
        "pairs": pairs, "runs": pictures, "python": python, "rows": rows, "step_us": step,
        "answer": answer}))
}

/// A row of the table of all that was measured.
fn measured(record: &Record, name: &str, run: &Run) -> Value {
    json!({"cells": table::row(record, name, run), "not_run": table::not_run(run)})
}

/// The talk's Python that stands beside a style, if there is a file, and what it took.
fn beside(record: &Record, style: &Style, workload: &str, lines: &mut Lines) -> Option<Value> {
    let source = python_source::read(python::file(style, workload)?).ok()?;
    let mut same_program = STYLES.iter().filter(|other| other.program == style.program);
    let run = same_program.find_map(|style| record.python_run(workload, style.name));
    let all: Vec<usize> = source.lines.iter().map(|line| lines.place(line, &[])).collect();
    let parts: Vec<Value> =
        source.parts.iter().map(|(name, lines)| json!([name, lines.start, lines.end])).collect();
    Some(json!({"path": source.path, "lines": all, "parts": parts,
        "run": run.map(|(run, _)| figures(record, run))}))
}

fn file(source: &Source, lines: &mut Lines) -> Value {
    let all: Vec<usize> =
        source.lines.iter().map(|line| lines.place(&line.tokens, &line.waits)).collect();
    let mut short: Vec<usize> = source.waiting_lines().chain(source.spawning_lines()).collect();
    short.sort_unstable();
    short.dedup();
    let functions: Vec<&str> = source.functions().collect();
    json!({"path": source.path, "caption": source.caption, "lines": all,
        "imports": source.imports_in_short(), "short": short, "functions": functions})
}

/// Runs of characters of one class: a letter and a length each; `w` is a waiting call.
fn classes(tokens: &[Token], waits: &[usize]) -> String {
    let mut runs: Vec<(char, usize)> = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        let letter = if waits.contains(&n) { 'w' } else { token.class.letter() };
        let length = token.text.chars().count();
        match runs.last_mut() {
            Some((last, sum)) if *last == letter => *sum += length,
            // A blank in a comment belongs to the comment.
            Some((last, sum)) if token.class == Class::Blank && *last != 'w' => *sum += length,
            _ => runs.push((letter, length)),
        }
    }
    let runs: Vec<String> =
        runs.iter().map(|(letter, length)| format!("{letter}{length}")).collect();
    runs.concat()
}

fn pair(aligned: &Aligned, left: &Source, right: &Source) -> Value {
    let part = |(part, rows): &(Part, Vec<Row>)| {
        let name = match part {
            Part::Header => "//",
            Part::Imports => "use",
            Part::Function(name) => name,
            Part::Between => "",
        };
        json!([name, encoded(rows, left, right)])
    };
    let parts: Vec<Value> = aligned.parts.iter().map(part).collect();
    json!({"counts": aligned.counts, "parts": parts})
}

/// Rows of equal lines as `left, right, how many`; any other as `left, right, kind, marks,
/// marks`. Lines are counted from 0, -1 is none.
fn encoded(rows: &[Row], left: &Source, right: &Source) -> Vec<Value> {
    let number = |line: Option<usize>| line.map_or(-1, |line| line as i64);
    let mut all: Vec<Value> = Vec::new();
    let groups = rows.chunk_by(|one, next| one.kind == Kind::Same && next.kind == Kind::Same);
    for group in groups {
        let row = &group[0];
        let (one, other) = (number(row.left), number(row.right));
        if row.kind == Kind::Same {
            all.push(json!([one, other, group.len()]));
            continue;
        }
        let kind = match row.kind {
            Kind::Async => "a",
            Kind::Similar => "s",
            Kind::Same | Kind::Apart => match row.moved {
                [false, false] => "x",
                [true, false] => "<",
                [false, true] => ">",
                [true, true] => "=",
            },
        };
        let marks = |side: usize, line: Option<usize>, source: &Source| {
            line.map_or(String::new(), |line| marked(&row.marks[side], &source.lines[line].tokens))
        };
        let marks = [marks(0, row.left, left), marks(1, row.right, right)];
        all.push(if marks.iter().all(String::is_empty) {
            json!([one, other, kind])
        } else {
            json!([one, other, kind, marks[0], marks[1]])
        });
    }
    all
}

/// Marks as a letter, the first character and how many: `d8.5`.
fn marked(marks: &[(usize, Mark)], tokens: &[Token]) -> String {
    let mut ranges: Vec<(char, usize, usize)> = Vec::new();
    let length = |n: usize| tokens[n].text.chars().count();
    for &(n, mark) in marks {
        let from: usize = (0..n).map(length).sum();
        match ranges.last_mut() {
            Some((letter, begin, sum)) if *letter == mark.letter() && *begin + *sum == from => {
                *sum += length(n);
            }
            _ => ranges.push((mark.letter(), from, length(n))),
        }
    }
    let range = |(letter, from, length): &(char, usize, usize)| format!("{letter}{from}.{length}");
    ranges.iter().map(range).collect::<Vec<_>>().concat()
}

/// A style's strip, its picture and its badges.
fn drawn(record: &Record, run: &Run, source: &Source, step: u64) -> Value {
    let mut drawn = figures(record, run);
    if let Some(section) = run.section() {
        drawn["picture"] = json!(picture::of(section));
        drawn["badges"] = json!(badges::of(section, source, step));
    }
    drawn
}

/// What a strip says of a run.
fn figures(record: &Record, run: &Run) -> Value {
    let Some(section) = run.section() else {
        return json!({"not_run": table::not_run(run)});
    };
    let figures = run.figures();
    let fault = record.fault(run);
    let same = record.same_answer(run);
    let plural = |n: usize, what: &str, more: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {more}"),
    };
    let mut facts = Vec::new();
    if let Some(n) = figures.times {
        let limit = if section["limit_s"].is_number() { "limit" } else { "reference" };
        facts.push(format!("{} × {limit}", table::times(n)));
    }
    if figures.processes > 1 {
        facts.push(plural(figures.processes, "process", "processes"));
    } else if figures.threads > 0 {
        facts.push(plural(figures.threads, "thread", "threads"));
    }
    facts.extend(figures.peak_kib.map(table::memory));
    json!({"median": figures.wall_s.map(table::seconds), "wall_s": figures.wall_s,
        "limit_s": section["limit_s"], "spread_s": figures.spread_s, "facts": facts,
        "same": same, "fault": fault, "answer": if same { &Value::Null } else { &section["answer"] },
        "expectation": section["expectation"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_small_file() {
        let page = html(&Record::default());
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
        // The code shown may contain addresses: they are text.
        let own = [TEMPLATE, STYLE, SCRIPT].concat();
        for part in ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttp"] {
            assert!(!own.contains(part), "{part}");
        }
        assert_eq!(page.matches("</script>").count(), TEMPLATE.matches("</script>").count());
    }

    /// Colors as the style sheet names them: for light and for dark.
    fn color(name: &str) -> [[f64; 3]; 2] {
        let (_, value) = STYLE
            .split_once(&format!("--{name}: light-dark("))
            .unwrap_or_else(|| panic!("no color {name}"));
        let (value, _) = value.split_once(')').expect("it is closed");
        let channel = |hex: &str, n: usize| {
            let value = u8::from_str_radix(&hex[1 + 2 * n..3 + 2 * n], 16).expect("six digits");
            f64::from(value) / 255.0
        };
        let parse = |hex: &str| [0, 1, 2].map(|n| channel(hex.trim(), n));
        let (light, dark) = value.split_once(',').expect("two colors");
        [parse(light), parse(dark)]
    }

    /// Contrast as WCAG 2 defines it.
    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let linear =
            |c: f64| if c <= 0.03928 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let luminance =
            |[r, g, b]: [f64; 3]| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn everything_can_be_read_on_a_projector() {
        let grounds = ["ground", "tint-a", "tint-b", "fold"];
        let texts = ["text", "muted", "keyword", "function", "type", "string", "wait", "same"];
        for text in texts {
            for ground in grounds.iter().filter(|ground| text != "same" || **ground == "ground") {
                for (scheme, (one, other)) in color(text).into_iter().zip(color(ground)).enumerate()
                {
                    let found = contrast(one, other);
                    assert!(found >= 4.5, "{text} on {ground} ({scheme}): {found:.1}");
                }
            }
        }
        for (text, ground) in
            [("text", "word-a"), ("text", "word-b"), ("side-a", "ground"), ("side-b", "ground")]
        {
            for (one, other) in color(text).into_iter().zip(color(ground)) {
                assert!(contrast(one, other) >= 4.5, "{text} on {ground}");
            }
        }
    }
}
