//! The table: one row per style for one workload, a matrix for all of them.

use std::fmt::Write;
use std::iter::repeat_n;

use serde_json::Value;

use crate::Format;
use crate::code::cut;
use crate::python;
use crate::record::{Figures, Outcome, Record, Run};

/// Text is for a terminal of 80 columns.
const WIDTH: usize = 80;

pub const COLUMNS: [&str; 9] =
    ["style", "median", "min–max", "× limit", "CPU", "memory", "threads", "procs", "as expected"];

/// A row of one workload's table, in words.
pub fn row(record: &Record, name: &str, run: &Run) -> [String; 9] {
    let figures = run.figures();
    let none = || "–".to_string();
    let count = |n: usize| if figures.tasks == 0 { none() } else { n.to_string() };
    let spread = |(low, high)| format!("{}–{}", bare(low), seconds(high));
    [
        name.to_string(),
        figures.wall_s.map_or_else(none, seconds),
        figures.spread_s.map_or_else(|| "1 run".into(), spread),
        figures.times.map_or_else(none, times),
        figures.cpu_s.map_or_else(none, seconds),
        figures.peak_kib.map_or_else(none, memory),
        count(figures.threads),
        count(figures.processes),
        verdict(record, run),
    ]
}

/// Whether the answer is the same, and what the workload is to show was seen.
fn verdict(record: &Record, run: &Run) -> String {
    match record.fault(run) {
        Some(fault) => fault,
        None => run.expectation().map_or_else(|| "same answer".into(), |(word, _)| word.into()),
    }
}

/// Why a style has no figures.
pub fn not_run(run: &Run) -> Option<String> {
    match &run.outcome {
        Outcome::Ran(_) => None,
        Outcome::Refused(why) => Some(format!("not run: {why}")),
        Outcome::Failed(why) => Some(format!("failed: {why}")),
    }
}

/// Seconds, in the unit that fits.
pub fn seconds(s: f64) -> String {
    match s {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// The same without its unit, before one that has it.
fn bare(s: f64) -> String {
    seconds(s).split(' ').next().unwrap_or_default().to_string()
}

pub fn times(n: f64) -> String {
    match n {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

pub fn memory(kib: f64) -> String {
    if kib >= 1024.0 * 1024.0 {
        format!("{:.1} GiB", kib / 1024.0 / 1024.0)
    } else {
        format!("{:.1} MiB", kib / 1024.0)
    }
}

pub fn draw(record: &Record, format: Format) -> String {
    let workloads = record.workloads();
    let mut out = String::new();
    match format {
        Format::Csv => csv(&mut out, record),
        _ if workloads.is_empty() => {}
        _ if workloads.len() == 1 => one(&mut out, record, workloads[0], format),
        Format::Md => {
            for workload in &workloads {
                one(&mut out, record, workload, format);
                out.push('\n');
            }
        }
        _ => matrix(&mut out, record, &workloads),
    }
    if format != Format::Csv {
        if format == Format::Text {
            remarks(&mut out, record);
        }
        for line in conclusions(record).iter().flat_map(|text| wrapped(text)) {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

fn one(out: &mut String, record: &Record, workload: &str, format: Format) {
    let slides = record.of(workload).find_map(|run| run.section()?["slides"].as_str());
    let title = match slides {
        Some(slides) => format!("{workload} · slides {slides}"),
        None => workload.to_string(),
    };
    let runs: Vec<(String, &Run)> = record.rows(workload).collect();
    if format == Format::Md {
        let _ = writeln!(out, "**{title}**\n\n| {} |", COLUMNS.join(" | "));
        let _ = writeln!(out, "|{}|", ["---"; COLUMNS.len()].join("|"));
        for (name, run) in &runs {
            let cells = match not_run(run) {
                Some(why) => {
                    format!("{name} | {}{}", escaped(&why), " |".repeat(COLUMNS.len() - 2))
                }
                None => row(record, name, run).join(" | "),
            };
            let _ = writeln!(out, "| {cells} |");
        }
        return;
    }
    let rows: Vec<[String; 9]> = runs.iter().map(|(name, run)| row(record, name, run)).collect();
    let ran = rows.iter().zip(&runs).filter(|(_, (_, run))| not_run(run).is_none());
    let figures: Vec<&[String; 9]> = ran.map(|(row, _)| row).collect();
    // A column in which no row says anything is left out.
    let says = |column: &usize| {
        let all = figures.iter().map(|row| row[*column].as_str());
        *column == 0 || all.clone().any(|cell| cell != "–" && cell != "1 run")
    };
    let mut columns: Vec<usize> = (0..COLUMNS.len()).filter(says).collect();
    let width = |&column: &usize| {
        let cells = figures.iter().map(|row| row[column].chars().count());
        let style = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
        let least = if column == 0 { style } else { COLUMNS[column].chars().count() };
        cells.max().unwrap_or(0).max(least)
    };
    // A table that is too wide first loses what a style has by its nature.
    for least_said in ["procs", "threads"] {
        if columns.iter().map(|column| width(column) + 2).sum::<usize>() > WIDTH + 2 {
            columns.retain(|column| COLUMNS[*column] != least_said);
        }
    }
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |cells: &[String; 9]| {
        let mut text = String::new();
        for (&column, &width) in columns.iter().zip(&widths) {
            let cell = &cells[column];
            let gap: String = repeat_n(' ', width - cell.chars().count().min(width)).collect();
            match column {
                0 => text = format!("{cell}{gap}"),
                8 => text.extend(["  ", cell]),
                _ => text.extend(["  ", &gap, cell]),
            }
        }
        cut(text.trim_end(), WIDTH)
    };
    let _ = writeln!(out, "{title}\n{}", line(&COLUMNS.map(String::from)));
    for ((name, run), cells) in runs.iter().zip(&rows) {
        let text = match not_run(run) {
            Some(why) => wrapped(&format!("{name:<width$}  {why}", width = widths[0])).join("\n  "),
            None => line(cells),
        };
        let _ = writeln!(out, "{text}");
    }
}

/// All workloads: a row each, a column a style, in times the limit.
fn matrix(out: &mut String, record: &Record, workloads: &[&str]) {
    let styles = record.styles();
    let heads: Vec<[String; 2]> = styles.iter().map(|style| in_two(style)).collect();
    let widths: Vec<usize> =
        heads.iter().map(|[one, other]| one.len().max(other.len()).max(7) + 1).collect();
    for line in 0..2 {
        let mut text = format!("{:<14}", if line == 0 { "× the limit" } else { "" });
        for (head, width) in heads.iter().zip(&widths) {
            let _ = write!(text, "{:>width$}", head[line]);
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    let mut line = |title: &str, runs: Vec<Option<&Run>>, missing: &str| {
        let mut text = format!("{title:<14}");
        for (run, width) in runs.into_iter().zip(&widths) {
            let cell = match run {
                Some(run) if not_run(run).is_none() => cell(record, run),
                Some(run) if record.fault(run).is_some() => "failed".into(),
                Some(_) => "not run".into(),
                None => missing.into(),
            };
            let _ = write!(text, "{cell:>width$}");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    for workload in workloads {
        line(workload, styles.iter().map(|style| record.run(workload, style)).collect(), "not run");
        let python: Vec<_> =
            styles.iter().map(|style| record.python_run(workload, style)).collect();
        if let Some((_, name)) = python.iter().flatten().next() {
            let runs = python.iter().map(|run| run.map(|(run, _)| run)).collect();
            line(&format!("  {name}"), runs, "");
        }
    }
    for (title, words) in VERDICTS {
        let mut text = format!("{title:<14}");
        for (style, width) in styles.iter().zip(&widths) {
            let verdicts = verdicts(record, style);
            let n = verdicts.iter().filter(|verdict| words.contains(&verdict.as_str())).count();
            let _ = write!(text, "{n:>width$}");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    let _ =
        writeln!(out, "* against a reference, as there is no limit · ≠ another or a wrong answer");
    let _ = writeln!(out, "! what the workload is to show was not seen");
}

const VERDICTS: [(&str, &[&str]); 3] = [
    ("claims: hold", &["holds"]),
    ("differ in Rust", &["differs in Rust"]),
    ("do not hold", &["does not hold"]),
];

fn cell(record: &Record, run: &Run) -> String {
    let Figures { times: n, wall_s, .. } = run.figures();
    let has_limit = run.section().is_some_and(|section| section["limit_s"].is_number());
    let mut text = match (n, wall_s) {
        (Some(n), _) if has_limit => times(n),
        (Some(n), _) => format!("{}*", times(n)),
        (None, Some(wall)) => seconds(wall).replace(' ', ""),
        (None, None) => "–".into(),
    };
    if record.fault(run).is_some() {
        text += " ≠";
    } else if run.expectation().is_some_and(|(word, _)| word == "does not hold") {
        text += " !";
    }
    text
}

fn verdicts(record: &Record, style: &str) -> Vec<String> {
    let claims = record.claims(style).into_iter();
    claims.filter_map(|claim| claim["verdict"].as_str().map(String::from)).collect()
}

/// A style's name on two lines of at most eight columns.
fn in_two(name: &str) -> [String; 2] {
    if name.len() < 8 {
        return [String::new(), name.to_string()];
    }
    let at = name.rfind(['-', '_']).filter(|at| *at < 8 && *at > 2).map_or(6, |at| at + 1);
    [name[..at].to_string(), name[at..].to_string()]
}

fn csv(out: &mut String, record: &Record) {
    let _ = writeln!(
        out,
        "workload,style,wall_s,min_s,max_s,runs,times_limit,cpu_s,peak_kib,tasks,threads,processes,answer,verdict"
    );
    let rows = record.workloads().into_iter().flat_map(|workload| record.rows(workload));
    for (name, run) in rows {
        let figures = run.figures();
        let number = |n: Option<f64>| n.map_or(String::new(), |n| n.to_string());
        let counted = |n: usize| if n > 0 { n.to_string() } else { String::new() };
        let answer = match record.fault(run) {
            Some(why) => why,
            None => not_run(run).unwrap_or_else(|| "same".into()),
        };
        let name = name.trim_start();
        let name = if name == run.style { name.into() } else { format!("{name} {}", run.style) };
        let cells = [
            run.workload.clone(),
            name,
            number(figures.wall_s),
            number(figures.spread_s.map(|(low, _)| low)),
            number(figures.spread_s.map(|(_, high)| high)),
            counted(figures.runs),
            number(figures.times),
            number(figures.cpu_s),
            number(figures.peak_kib),
            counted(figures.tasks),
            counted(figures.threads),
            counted(figures.processes),
            quoted(&answer),
            run.expectation().map_or(String::new(), |(word, _)| quoted(word)),
        ];
        let _ = writeln!(out, "{}", cells.join(","));
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Evidence of what does not hold, and what has to be known about every figure.
fn remarks(out: &mut String, record: &Record) {
    for run in &record.runs {
        if let Some(("does not hold", evidence)) = run.expectation() {
            let text = format!("{} in {} does not hold: {evidence}", run.workload, run.style);
            let _ = writeln!(out, "{}", wrapped(&text).join("\n"));
        }
    }
    for (id, verdict) in python::claims(record) {
        let name = record.python.as_ref().map_or("", |python| &python.name);
        let claim = common::claims::ALL.iter().find(|claim| claim.id == id);
        let says = claim.map_or("", |claim| claim.says);
        let (word, evidence) = (verdict.word(), verdict.evidence());
        let text = format!("{id} on {name}: {says}: {word}: {evidence}");
        let _ = writeln!(out, "{}", wrapped(&text).join("\n  "));
    }
    if record.runs.iter().filter_map(Run::document).any(|document| document["profile"] == "debug") {
        let _ = writeln!(out, "a debug build: its times are not for quoting (cargo run --release)");
    }
    if record.interrupted {
        let _ = writeln!(out, "interrupted: the rest was not run");
    }
}

/// What the figures say to a reader who has to choose, a sentence for each workload that has a
/// limit and a timeline.
pub fn conclusions(record: &Record) -> Vec<String> {
    let has_timeline = |workload: &&str| {
        let mut sections = record.of(workload).filter_map(Run::section);
        sections.any(|section| section["picture"]["kind"] == "timeline")
    };
    record
        .workloads()
        .into_iter()
        .filter(has_timeline)
        .filter_map(|w| conclusion(record, w))
        .collect()
}

fn conclusion(record: &Record, workload: &str) -> Option<String> {
    let right =
        record.of(workload).filter(|run| run.section().is_some() && record.fault(run).is_none());
    let runs: Vec<(&Run, Figures)> = right.map(|run| (run, run.figures())).collect();
    let by = |of: fn(&Figures) -> Option<f64>| {
        let mut all: Vec<(f64, &str)> =
            runs.iter().filter_map(|(run, f)| Some((of(f)?, run.style.as_str()))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    };
    let speed = by(|f| f.times);
    let (&(best, first), &(worst, last)) = (speed.first()?, speed.last()?);
    if first == last {
        return None;
    }
    let tasks = runs.iter().map(|(_, f)| f.tasks).max()?;
    let what = if runs[0].1.mostly_waits { "waits" } else { "computations" };
    let (best, worst) = (times(best), times(worst));
    let mut text =
        format!("At {tasks} {what} at once, {first} takes {best} × the limit, {last} {worst} ×");
    let memory_of = by(|f| f.peak_kib);
    if let (Some(&(least, small)), Some(&(most, large))) = (memory_of.first(), memory_of.last())
        && small != large
    {
        let (least, most) = (memory(least), memory(most));
        let _ = write!(text, "; {small} has the least memory ({least}), {large} the most ({most})");
    }
    Some(text + ".")
}

fn wrapped(text: &str) -> Vec<String> {
    let mut words = text.split(' ');
    let mut lines = vec![words.next().unwrap_or_default().to_string()];
    for word in words {
        let last = lines.last_mut().expect("there is always a line");
        if last.chars().count() + 1 + word.chars().count() > WIDTH - 2 {
            lines.push(word.to_string());
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines
}

/// That callbacks, coroutines, and both do the same: one program alone cannot tell.
const SAME_TASK: &str = "A3";

/// Its verdict, if at least two of the styles that name it were run on the same workload.
fn same_task(record: &Record, verdicts: &[[String; 2]]) -> Option<[String; 2]> {
    let styles = record.styles().into_iter().zip(verdicts);
    let styles: Vec<&str> =
        styles.filter(|(_, [word, _])| !word.is_empty()).map(|(style, _)| style).collect();
    let (mut compared, mut differ) = (0, Vec::new());
    for workload in record.workloads() {
        let runs = styles.iter().filter_map(|style| record.run(workload, style));
        let answers: Vec<&Value> = runs.filter_map(Run::answer).collect();
        if answers.len() > 1 && answers.len() == styles.len() {
            compared += 1;
            if answers.iter().any(|answer| *answer != answers[0]) {
                differ.push(workload);
            }
        }
    }
    let styles = styles.join(", ");
    match (compared, &differ[..]) {
        (0, _) => None,
        (n, []) => Some(["holds".into(), format!("the same answers of {n} workloads: {styles}")]),
        (_, differ) => {
            let evidence = format!("other answers of {}: {styles}", differ.join(", "));
            Some(["does not hold".into(), evidence])
        }
    }
}

/// The claims that any style judges: id, slide, what it says, and each style's verdict.
pub fn claims(record: &Record) -> Vec<(String, String, String, Vec<[String; 2]>)> {
    let styles = record.styles();
    let of: Vec<Vec<&Value>> = styles.iter().map(|style| record.claims(style)).collect();
    let text = |claim: &Value, name: &str| claim[name].as_str().unwrap_or_default().to_string();
    let mut all: Vec<(String, String, String, Vec<[String; 2]>)> = Vec::new();
    for known in &common::claims::ALL {
        let find = |claims: &Vec<&Value>| {
            let claim = claims.iter().find(|claim| claim["id"] == known.id);
            claim.map_or_else(Default::default, |c| [text(c, "verdict"), text(c, "evidence")])
        };
        let mut verdicts: Vec<[String; 2]> = of.iter().map(find).collect();
        if known.id == SAME_TASK
            && let Some(verdict) = same_task(record, &verdicts)
        {
            let judges = verdicts.iter_mut().filter(|[word, _]| !word.is_empty());
            judges.for_each(|old| old.clone_from(&verdict));
        }
        if verdicts.iter().any(|[verdict, _]| !verdict.is_empty()) {
            all.push((known.id.into(), known.slide.into(), known.says.into(), verdicts));
        }
    }
    all
}
