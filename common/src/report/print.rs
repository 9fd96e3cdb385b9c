//! Where everything goes: text for a room, or one JSON document at the end.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::claims;
use crate::machine::{Machine, profile};
use crate::report::color::{BAD, GOOD, ODD, TITLE};
use crate::report::section::Section;
use crate::report::verdict::Verdict;

/// A claim, judged.
pub struct Judged {
    pub text: &'static claims::Text,
    pub verdict: Verdict,
}

/// Where everything goes: text for a room, or one JSON document at the end.
pub struct Report {
    style: &'static str,
    event_loop: Option<&'static str>,
    cores: usize,
    quiet: bool,
    as_json: bool,
    workloads: Map<String, Value>,
    asides: Map<String, Value>,
    claims: Vec<Value>,
}

impl Report {
    pub fn new(
        style: &'static str,
        event_loop: Option<&'static str>,
        machine: &Machine,
        quiet: bool,
        as_json: bool,
    ) -> Report {
        Report {
            style,
            event_loop,
            cores: machine.cores,
            quiet,
            as_json,
            workloads: Map::new(),
            asides: Map::new(),
            claims: Vec::new(),
        }
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
    pub fn workload(&mut self, name: &str, section: &Section) -> io::Result<()> {
        self.workloads.insert(name.to_string(), section.json());
        self.section(section)
    }

    /// Prints an aside's section, or keeps it for the JSON.
    pub fn aside(&mut self, name: &str, section: &Section) -> io::Result<()> {
        self.asides.insert(name.to_string(), section.json());
        self.section(section)
    }

    fn section(&self, section: &Section) -> io::Result<()> {
        if !self.as_json {
            self.print(&section.answer)?;
        }
        section.shown.iter().for_each(|line| self.show(line));
        Ok(())
    }

    /// Prints the verdicts, or keeps them for the JSON.
    pub fn verdicts(&mut self, judged: &[Judged]) {
        if !judged.is_empty() {
            self.show(&format!("\n{TITLE}what the talk claims, judged by this run{TITLE:#}"));
        }
        for Judged { text, verdict } in judged {
            let claims::Text { id, slide, says } = text;
            let (word, evidence) = (verdict.word(), verdict.evidence());
            let color = match verdict {
                Verdict::Holds(_) => GOOD,
                Verdict::Fails(_) => BAD,
                _ => ODD,
            };
            self.show(&format!("  {id:<3} {says:<54} {color}{word:>19}{color:#}"));
            for line in wrap(evidence, 72) {
                self.show(&format!("      {line}"));
            }
            self.claims.push(json!({"id": id, "slide": slide, "says": says,
                "verdict": word, "evidence": evidence}));
        }
    }

    /// What has to be known about every figure above.
    pub fn remarks(&self) {
        if profile() == "debug" {
            self.show("\na debug build: its times are not for quoting (use cargo run --release)");
        }
    }

    /// Ends the report: the JSON document, if one was asked for.
    pub fn end(self) -> io::Result<()> {
        if !self.as_json {
            return Ok(());
        }
        let document = json!({"style": self.style, "loop": self.event_loop,
            "profile": profile(), "cores": self.cores, "workloads": self.workloads,
            "asides": self.asides, "claims": self.claims});
        self.print(&[document.to_string()])
    }

    /// Lines for stdout.
    ///
    /// # Errors
    ///
    /// Nobody reads any more (`| head`), or the disk is full.
    pub fn print(&self, lines: &[String]) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// A line for stderr; whoever closed it does not want to know.
    fn show(&self, line: &str) {
        if !self.quiet && !self.as_json {
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }
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
