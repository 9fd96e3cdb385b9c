//! The words printed: answers on stdout, what was measured on stderr; or one JSON document.

use std::io::{self, Write};
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value, json};

use crate::claims;
use crate::machine::{Machine, profile};
use crate::timeline::{self, Span};

/// What one workload or aside has to say.
#[derive(Debug, Default)]
pub struct Section {
    /// The answer, a line each: stdout, the same in all styles.
    pub answer: Vec<String>,
    /// What was measured, as a room sees it: stderr.
    pub shown: Vec<String>,
    /// What was measured, for the JSON.
    pub measured: Map<String, Value>,
    pub wall_s: Option<f64>,
    pub baseline_s: Option<f64>,
    pub limit_s: Option<f64>,
    pub spans: Vec<Span>,
    /// Why the answer is not as it should be.
    pub wrong: Option<String>,
}

impl Section {
    /// Takes the answer of a run; a repeated run must give the same one.
    pub fn answers(&mut self, lines: Vec<String>) {
        if !self.answer.is_empty() && self.answer != lines {
            self.wrong = Some("a repeated run gave another answer".into());
        }
        self.answer = lines;
    }

    /// Shows the spans as a picture.
    pub fn draw(&mut self) {
        self.shown.extend(timeline::draw(&self.spans));
    }

    /// Keeps a figure for the JSON.
    pub fn measure(&mut self, name: &str, value: Value) {
        self.measured.insert(name.to_string(), value);
    }

    fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("answer".into(), json!(self.answer));
        all.insert("ok".into(), json!(self.wrong.is_none()));
        let times =
            [("wall_s", self.wall_s), ("baseline_s", self.baseline_s), ("limit_s", self.limit_s)];
        for (name, seconds) in times {
            if let Some(seconds) = seconds {
                all.insert(name.into(), json!(seconds));
            }
        }
        all.insert("measured".into(), json!(self.measured));
        all.insert("spans".into(), json!(self.spans));
        Value::Object(all)
    }
}

/// Wall times of repeated runs, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Times {
    pub seconds: Vec<f64>,
}

impl Times {
    /// Runs `work` and keeps how long it took.
    pub fn time<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.seconds.push(start.elapsed().as_secs_f64());
        result
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// How sure a time is: one run, or a median and its spread.
    pub fn note(&self, machine: &Machine) -> String {
        let (low, high) = self
            .seconds
            .iter()
            .fold((f64::MAX, 0.0_f64), |(low, high), &s| (low.min(s), high.max(s)));
        match self.seconds.len() {
            1 if machine.cores == 1 => format!("1 run, {}, 1 core", profile()),
            1 => format!("1 run, {}, {} cores", profile(), machine.cores),
            n => format!("{n} runs, {low:.3}–{high:.3}"),
        }
    }
}

/// A row of a comparison.
pub struct Bar {
    name: String,
    seconds: f64,
    note: String,
}

impl Bar {
    pub fn new(name: &str, seconds: f64, note: &str) -> Bar {
        Bar { name: name.to_string(), seconds, note: note.to_string() }
    }
}

/// A comparison of times, drawn to one scale; 80 columns at most.
pub fn bars(rows: &[Bar]) -> Vec<String> {
    const WIDTH: f64 = 24.0;
    let longest = rows.iter().map(|r| r.seconds).fold(f64::MIN_POSITIVE, f64::max);
    let line = |row: &Bar| {
        let eighths = (row.seconds / longest * WIDTH * 8.0).round() as usize;
        let mut bar = "█".repeat(eighths / 8);
        bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
        let Bar { name, seconds, note } = row;
        let digits = if *seconds < 1000.0 { 3 } else { 1 };
        format!("  {name:<13} {seconds:>7.digits$} s  {bar:<24}  {note}").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// How a claim of the talk came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// With what was seen.
    Holds(String),
    /// With the reason.
    Differs(String),
    /// With what was seen instead: our code or our judgement is at fault.
    Fails(String),
    /// With what is missing.
    NotMeasurable(String),
    /// No number decides it: the file and function to look at.
    ReadIt(String),
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Holds(_) => "holds",
            Verdict::Differs(_) => "differs in Rust",
            Verdict::Fails(_) => "does not hold",
            Verdict::NotMeasurable(_) => "not measurable here",
            Verdict::ReadIt(_) => "read it",
        }
    }

    pub fn evidence(&self) -> &str {
        match self {
            Verdict::Holds(why)
            | Verdict::Differs(why)
            | Verdict::Fails(why)
            | Verdict::NotMeasurable(why)
            | Verdict::ReadIt(why) => why,
        }
    }
}

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

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const ODD: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

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

/// A piece of a picture that the eye is to find: in red, on a terminal.
pub fn red(text: &str) -> String {
    format!("{BAD}{text}{BAD:#}")
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
    fn bars_are_to_scale_and_fit() {
        let rows = bars(&[
            Bar::new("threads", 0.05, "1 run, release, 2 cores"),
            Bar::new("one by one", 1.0, ""),
            Bar::new("a long time", 9999.0, "12345.6 × as long, computed"),
        ]);
        assert_eq!(rows[2].matches('█').count(), 24);
        assert_eq!(rows[0].matches('█').count(), 0);
        assert!(rows.iter().all(|row| row.chars().count() <= 80), "{rows:?}");
    }

    #[test]
    fn a_median_is_the_middle() {
        let median = |seconds: &[f64]| Times { seconds: seconds.to_vec() }.median();
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn a_changed_answer_is_wrong() {
        let mut section = Section::default();
        section.answers(vec!["1".into()]);
        section.answers(vec!["1".into()]);
        assert!(section.wrong.is_none());
        section.answers(vec!["2".into()]);
        assert!(section.wrong.is_some());
    }

    #[test]
    fn long_evidence_is_wrapped() {
        let lines = wrap(&"seven b".repeat(20), 30);
        assert!(lines.len() > 3 && lines.iter().all(|l| l.chars().count() <= 30));
    }
}
