//! Where the report is printed: text for people, or one JSON document at the end.

use std::io::{self, Write};

use crate::machine::{Machine, profile};
use crate::report::color::{BAD, GOOD, ODD, TITLE};
use crate::report::json::Document;
use crate::report::screen;
use crate::report::section::{Expectation, Section};
use crate::report::verdict::{Judged, Verdict};
use crate::units::plural;

/// Where the report is printed: text for people, or one JSON document at the end.
pub struct Report {
    pub quiet: bool,
    /// All lines of an answer are printed, on a terminal too.
    pub answers: bool,
    /// There are several sections: each has a heading, and fits on a screen.
    pub several: bool,
    /// The document, if one is requested: then nothing else is printed.
    pub document: Option<Document>,
}

/// An answer of more lines than these is abbreviated on a terminal.
const ANSWER: usize = 6;

impl Report {
    /// Says what comes now.
    pub fn title(&self, name: &str, about: &str, slides: &str) {
        let left = format!("{name} · {about}");
        let several = slides.contains([',', '-']);
        let right = format!("slide{} {slides}", if several { "s" } else { "" });
        let beside = left.chars().count() + right.chars().count();
        let gap = screen::columns().saturating_sub(beside + 1).max(1);
        self.show(&format!("\n{TITLE}{left}{TITLE:#}{:gap$}{right}", ""));
    }

    /// Prints a workload's section, or keeps it for the JSON.
    pub fn workload(&mut self, name: &str, slides: &str, section: &Section) -> io::Result<()> {
        if let Some(document) = &mut self.document {
            document.workload(name, slides, section);
        }
        self.section(name, section)
    }

    /// Prints an aside's section, or keeps it for the JSON.
    pub fn aside(&mut self, name: &str, slides: &str, section: &Section) -> io::Result<()> {
        if let Some(document) = &mut self.document {
            document.aside(name, slides, section);
        }
        self.section(name, section)
    }

    fn section(&self, name: &str, section: &Section) -> io::Result<()> {
        if self.document.is_some() {
            return Ok(());
        }
        let answer = self.answer(name, section);
        print(&answer)?;
        let mut shown = section.shown.clone();
        if let Some(Expectation { says, verdict }) = &section.expectation {
            shown.extend(in_lines("", says, verdict));
        }
        let free = match screen::size() {
            // The title takes two lines of the screen, and the prompt takes the last one.
            Some((_, rows)) if self.several => rows.saturating_sub(answer.len() + 3),
            _ => usize::MAX,
        };
        let most = if shown.len() > free { free.saturating_sub(1) } else { shown.len() };
        for line in &shown[..most] {
            self.show(line);
        }
        if most < shown.len() {
            let more = plural(shown.len() - most, "more line");
            self.show(&format!("  … and {more}, shown by the command {name}"));
        }
        Ok(())
    }

    /// The answer's lines, as they are printed.
    fn answer(&self, name: &str, section: &Section) -> Vec<String> {
        let all = &section.answer;
        let on_a_terminal = !self.quiet && screen::shows_answers();
        let mut lines = Vec::new();
        if self.several && !on_a_terminal {
            lines.push(format!("== {name}"));
        }
        if on_a_terminal && !self.answers && all.len() > ANSWER {
            let few = ANSWER / 2;
            lines.extend_from_slice(&all[..few]);
            let expected =
                if section.wrong.is_none() { "all as expected" } else { "not all as expected" };
            lines.push(format!("… and {} more, {expected} (--answers)", all.len() - few));
        } else {
            lines.extend_from_slice(all);
        }
        lines
    }

    /// Prints the verdicts, or keeps them for the JSON.
    pub fn verdicts(&mut self, judged: &[Judged], title: &str) {
        if let Some(document) = &mut self.document {
            for judged in judged {
                document.claim(judged);
            }
        }
        if !judged.is_empty() {
            self.show(&format!("\n{TITLE}{title}{TITLE:#}"));
        }
        for Judged { text, verdict } in judged {
            for line in in_lines(text.id, text.says, verdict) {
                self.show(&line);
            }
        }
    }

    /// What has to be known about all figures above.
    pub fn remarks(&self) {
        if profile() == "debug" {
            self.show("\na debug build: its times are not for quoting (use cargo run --release)");
        }
    }

    /// Ends the report: the JSON document, if one was asked for.
    pub fn end(self, program: &str, style: &str, machine: &Machine) -> io::Result<()> {
        match self.document {
            None => Ok(()),
            Some(document) => print(&[document.end(program, style, machine).to_string()]),
        }
    }

    /// A line beside the report.
    pub fn note(&self, line: &str) {
        self.show(line);
    }

    /// Prints a line on stderr. If that is closed, the line is dropped.
    fn show(&self, line: &str) {
        if !self.quiet && self.document.is_none() {
            let line = match screen::size() {
                Some((columns, _)) => cut(line, columns),
                None => line.to_string(),
            };
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }
}

/// A verdict, with its evidence below.
fn in_lines(id: &str, says: &str, verdict: &Verdict) -> Vec<String> {
    let color = match verdict {
        Verdict::Holds(_) => GOOD,
        Verdict::Fails(_) => BAD,
        _ => ODD,
    };
    let word = verdict.word();
    let mut lines = vec![format!("  {id:<3} {says:<54} {color}{word:>19}{color:#}")];
    let evidence = wrap(verdict.evidence(), screen::columns() - 8);
    lines.extend(
        evidence.iter().filter(|line| !line.is_empty()).map(|line| format!("      {line}")),
    );
    lines
}

/// The first `columns` characters of a line; color codes do not count.
fn cut(line: &str, columns: usize) -> String {
    let mut kept = String::new();
    let (mut seen, mut colored) = (0, false);
    for c in line.chars() {
        colored |= c == '\u{1b}';
        if colored || seen < columns {
            kept.push(c);
        }
        seen += usize::from(!colored);
        colored &= c != 'm';
    }
    kept
}

/// Lines for stdout.
///
/// # Errors
///
/// The reader of stdout has gone (`| head`), or the disk is full.
fn print(lines: &[String]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// Breaks a sentence at spaces, with at most `width` characters per line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_string());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_without_its_colors() {
        assert_eq!(cut("\u{1b}[1mab\u{1b}[0mcd", 3), "\u{1b}[1mab\u{1b}[0mc");
        assert_eq!(cut("\u{1b}[1mabcd\u{1b}[0m", 2), "\u{1b}[1mab\u{1b}[0m");
    }

    #[test]
    fn long_evidence_is_wrapped() {
        let lines = wrap(&"seven b".repeat(20), 30);
        assert!(lines.len() > 3 && lines.iter().all(|l| l.chars().count() <= 30));
    }
}
