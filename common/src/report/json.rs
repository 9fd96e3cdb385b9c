//! The report as one JSON document, for pages and scripts.
//!
//! | field | what it is |
//! |---|---|
//! | `program`, `style` | one of the six, one of the eight (`asyncio-style`, `on_tokio`) |
//! | `profile` | `debug` or `release` |
//! | `cores` | how many the run might use |
//! | `machine` | `cores`, `kernel`, `cpu` |
//! | `date` | of the run, UTC, as RFC 3339 has it |
//! | `commit` | of the sources, where they lie in a git repository; else `null` |
//! | `workloads`, `asides` | what was run, by name: an object as below |
//! | `claims` | `id`, `slide`, `says`, `verdict`, `evidence`, for each claim that this program judges |
//!
//! A workload or an aside:
//!
//! | field | what it is |
//! |---|---|
//! | `slides` | of the talk |
//! | `answer` | the lines of stdout |
//! | `ok` | whether the answer is as it should be |
//! | `wall_s`, `baseline_s`, `limit_s` | seconds: the median of the runs, what it is compared with, what it can reach; `null` where there is none |
//! | `cpu_s` | median of the CPU seconds of a run, of all its threads and children |
//! | `peak_kib` | the most memory resident at once; `null` where children do the work |
//! | `measured` | its own figures, by name |
//! | `picture` | `kind`, and what it is drawn from |
//! | `expectation` | `says`, `verdict`, `evidence`; `null` for an aside |
//! | `spans` | `task`, `kind`, `from_us`, `to_us`, `pid`, `thread`: what each task did when |

use std::process::Command;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::machine::{Machine, kernel_and_cpu, profile};
use crate::report::section::{Expectation, Section};
use crate::report::verdict::Judged;

/// The document, as it grows.
#[derive(Default)]
pub struct Document {
    workloads: Map<String, Value>,
    asides: Map<String, Value>,
    claims: Vec<Value>,
}

impl Document {
    pub fn workload(&mut self, name: &str, slides: &str, section: &Section) {
        self.workloads.insert(name.to_string(), of(slides, section));
    }

    pub fn aside(&mut self, name: &str, slides: &str, section: &Section) {
        self.asides.insert(name.to_string(), of(slides, section));
    }

    pub fn claim(&mut self, Judged { text, verdict }: &Judged) {
        self.claims.push(json!({"id": text.id, "slide": text.slide, "says": text.says,
            "verdict": verdict.word(), "evidence": verdict.evidence()}));
    }

    /// The whole document, for a run of this style.
    pub fn end(self, program: &str, style: &str, machine: &Machine) -> Value {
        let (kernel, cpu) = kernel_and_cpu();
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        json!({"program": program, "style": style, "profile": profile(),
            "cores": machine.cores, "date": date, "commit": commit(),
            "machine": {"cores": machine.all_cores, "kernel": kernel, "cpu": cpu},
            "workloads": self.workloads, "asides": self.asides, "claims": self.claims})
    }
}

fn of(slides: &str, section: &Section) -> Value {
    let expectation = section.expectation.as_ref().map(|Expectation { says, verdict }| {
        json!({"says": says, "verdict": verdict.word(), "evidence": verdict.evidence()})
    });
    let cpu = (!section.cpu.seconds.is_empty()).then(|| section.cpu.median());
    json!({"slides": slides, "answer": section.answer, "ok": section.wrong.is_none(),
        "wall_s": section.wall_s, "baseline_s": section.baseline_s, "limit_s": section.limit_s,
        "cpu_s": cpu, "peak_kib": section.peak_kib, "measured": section.measured,
        "picture": section.picture, "expectation": expectation, "spans": section.spans})
}

/// The commit of the sources that this program was built from, if they still lie there.
fn commit() -> Option<String> {
    let git = ["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"];
    let output = Command::new("git").args(git).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| commit.trim().to_string())
}
