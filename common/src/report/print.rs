//! Where everything goes: text for a room, or one JSON document at the end.

use std::io::{self, Write};

use crate::machine::{Machine, profile};
use crate::report::color::{BAD, GOOD, ODD, TITLE};
use crate::report::json::Document;
use crate::report::section::{Expectation, Section};
use crate::report::verdict::{Judged, Verdict};

/// Where everything goes: text for a room, or one JSON document at the end.
pub struct Report {
    quiet: bool,
    /// The document, if one was asked for: then nothing else is printed.
    document: Option<Document>,
}

impl Report {
    pub fn new(quiet: bool, as_json: bool) -> Report {
        Report { quiet, document: as_json.then(Document::new) }
    }

    /// Says what comes now.
    pub fn title(&self, name: &str, about: &str, slides: &str) {
        let left = format!("{name} · {about}");
        let several = slides.contains([',', '-']);
        let right = format!("slide{} {slides}", if several { "s" } else { "" });
        let gap = 79_usize.saturating_sub(left.chars().count() + right.chars().count()).max(1);
        self.show(&format!("\n{TITLE}{left}{TITLE:#}{:gap$}{right}", ""));
    }

    /// Prints a workload's section, or keeps it for the JSON.
    pub fn workload(&mut self, name: &str, slides: &str, section: &Section) -> io::Result<()> {
        if let Some(document) = &mut self.document {
            document.workload(name, slides, section);
        }
        self.section(section)
    }

    /// Prints an aside's section, or keeps it for the JSON.
    pub fn aside(&mut self, name: &str, slides: &str, section: &Section) -> io::Result<()> {
        if let Some(document) = &mut self.document {
            document.aside(name, slides, section);
        }
        self.section(section)
    }

    fn section(&self, section: &Section) -> io::Result<()> {
        if self.document.is_none() {
            print(&section.answer)?;
        }
        section.shown.iter().for_each(|line| self.show(line));
        if let Some(Expectation { says, verdict }) = &section.expectation {
            self.verdict("", says, verdict);
        }
        Ok(())
    }

    /// Prints the verdicts, or keeps them for the JSON.
    pub fn verdicts(&mut self, judged: &[Judged], title: &str) {
        if let Some(document) = &mut self.document {
            judged.iter().for_each(|judged| document.claim(judged));
        }
        if !judged.is_empty() {
            self.show(&format!(
                "
{TITLE}{title}{TITLE:#}"
            ));
        }
        for Judged { text, verdict } in judged {
            self.verdict(text.id, text.says, verdict);
        }
    }

    fn verdict(&self, id: &str, says: &str, verdict: &Verdict) {
        let (word, evidence) = (verdict.word(), verdict.evidence());
        let color = match verdict {
            Verdict::Holds(_) => GOOD,
            Verdict::Fails(_) => BAD,
            _ => ODD,
        };
        self.show(&format!("  {id:<3} {says:<54} {color}{word:>19}{color:#}"));
        for line in wrap(evidence, 72).iter().filter(|line| !line.is_empty()) {
            self.show(&format!("      {line}"));
        }
    }

    /// What has to be known about every figure above.
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

    /// A line for stderr; whoever closed it does not want to know.
    fn show(&self, line: &str) {
        if !self.quiet && self.document.is_none() {
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }
}

/// Lines for stdout.
///
/// # Errors
///
/// Nobody reads any more (`| head`), or the disk is full.
fn print(lines: &[String]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// Breaks a sentence at spaces, `width` characters at most.
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
    fn long_evidence_is_wrapped() {
        let lines = wrap(&"seven b".repeat(20), 30);
        assert!(lines.len() > 3 && lines.iter().all(|l| l.chars().count() <= 30));
    }
}
