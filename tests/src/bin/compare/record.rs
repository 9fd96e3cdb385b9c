//! What was run: a program's own document for each workload and style, or why there is none.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How one style fared on one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub workload: String,
    pub style: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The program's document.
    Ran(Value),
    /// What was asked for is more than it can hold.
    Refused(String),
    /// It failed, or did not end.
    Failed(String),
}

/// All runs, and what was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The flags that every program was given.
    pub flags: Vec<String>,
    /// Ended by Ctrl-C before all was run.
    pub interrupted: bool,
    pub runs: Vec<Run>,
    /// The talk's Python, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Python>,
}

/// What an interpreter has run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Python {
    /// Its name and version: `CPython 3.11`.
    pub name: String,
    /// Each has the style that its file stands beside.
    pub runs: Vec<Run>,
}

/// The figures of a run, as far as it has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub wall_s: Option<f64>,
    /// The shortest and the longest of several runs.
    pub spread_s: Option<(f64, f64)>,
    pub runs: usize,
    /// Times the limit; where a workload has none, times the reference.
    pub times: Option<f64>,
    pub cpu_s: Option<f64>,
    pub peak_kib: Option<f64>,
    pub tasks: usize,
    pub threads: usize,
    pub processes: usize,
    /// Whether most of the tasks' time is waiting.
    pub mostly_waits: bool,
}

impl Run {
    pub fn new(workload: &str, style: &str, outcome: Outcome) -> Run {
        Run { workload: workload.to_string(), style: style.to_string(), outcome }
    }

    pub fn is(&self, workload: &str, style: &str) -> bool {
        self.workload == workload && self.style == style
    }

    /// What the program says of this workload, if it ran.
    pub fn section(&self) -> Option<&Value> {
        match &self.outcome {
            Outcome::Ran(document) => Some(&document["workloads"][&self.workload]),
            Outcome::Refused(_) | Outcome::Failed(_) => None,
        }
    }

    pub fn document(&self) -> Option<&Value> {
        match &self.outcome {
            Outcome::Ran(document) => Some(document),
            Outcome::Refused(_) | Outcome::Failed(_) => None,
        }
    }

    pub fn answer(&self) -> Option<&Value> {
        self.section().map(|section| &section["answer"])
    }

    /// The word and the evidence of what this workload is to show.
    pub fn expectation(&self) -> Option<(&str, &str)> {
        let expectation = &self.section()?["expectation"];
        Some((expectation["verdict"].as_str()?, expectation["evidence"].as_str()?))
    }

    pub fn figures(&self) -> Figures {
        let Some(section) = self.section() else { return Figures::default() };
        let wall_s = section["wall_s"].as_f64();
        let reference = section["limit_s"].as_f64().or(section["baseline_s"].as_f64());
        let all = wall_s.and_then(|wall_s| all_runs(&section["measured"], wall_s));
        let runs = all.as_ref().map_or(1, Vec::len);
        let range = |all: Vec<f64>| {
            let (low, high) =
                (all.iter().copied().reduce(f64::min), all.iter().copied().reduce(f64::max));
            low.zip(high).filter(|_| all.len() > 1)
        };
        let spans = section["spans"].as_array().map_or(&[][..], Vec::as_slice);
        let different = |of: fn(&Value) -> (i64, i64)| {
            let mut seen: Vec<_> = spans.iter().map(of).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        };
        let number = |span: &Value, name: &str| span[name].as_i64().unwrap_or(0);
        let total = |waits: bool| -> i64 {
            let of_kind = spans.iter().filter(|span| (span["kind"] == "waiting") == waits);
            of_kind.map(|span| number(span, "to_us") - number(span, "from_us")).sum()
        };
        Figures {
            wall_s,
            spread_s: all.and_then(range),
            runs,
            times: wall_s.zip(reference).filter(|(_, r)| *r > 0.0).map(|(wall, r)| wall / r),
            cpu_s: section["cpu_s"].as_f64(),
            peak_kib: section["peak_kib"].as_f64(),
            tasks: different(|span| (span["task"].as_i64().unwrap_or(0), 0)),
            threads: different(|span| {
                (span["pid"].as_i64().unwrap_or(0), span["thread"].as_i64().unwrap_or(0))
            }),
            processes: different(|span| (span["pid"].as_i64().unwrap_or(0), 0)),
            mostly_waits: total(true) > total(false),
        }
    }
}

/// The list of seconds whose median is the wall time, whatever the workload calls it.
fn all_runs(measured: &Value, wall_s: f64) -> Option<Vec<f64>> {
    let lists = measured.as_object()?.values().filter_map(Value::as_array);
    let numbers = |list: &Vec<Value>| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
    let is_it = |seconds: &Vec<f64>| {
        let mut sorted = seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = match sorted.len() {
            0 => return false,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        };
        (middle - wall_s).abs() <= 1e-9 * wall_s.abs()
    };
    lists.filter_map(numbers).find(is_it)
}

impl Record {
    pub fn parse(text: &str) -> Result<Record, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub fn json(&self) -> Value {
        json!(self)
    }

    /// The workloads that were run, in order.
    pub fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.workload.as_str()) {
                names.push(&run.workload);
            }
        }
        names
    }

    /// The styles that were run, in order.
    pub fn styles(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.style.as_str()) {
                names.push(&run.style);
            }
        }
        names
    }

    pub fn of<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.workload == workload)
    }

    pub fn run(&self, workload: &str, style: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.is(workload, style))
    }

    /// The run of the Python that stands beside a style, and the interpreter's name.
    pub fn python_run(&self, workload: &str, style: &str) -> Option<(&Run, &str)> {
        let python = self.python.as_ref()?;
        let run = python.runs.iter().find(|run| run.is(workload, style))?;
        Some((run, &python.name))
    }

    /// The rows of a workload, each with its name: the styles in order, the Python of a style
    /// below it.
    pub fn rows<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = (String, &'a Run)> {
        self.of(workload).flat_map(move |run| {
            let python = self.python_run(workload, &run.style);
            let python = python.map(|(run, name)| (format!("  {name}"), run));
            [Some((run.style.clone(), run)), python].into_iter().flatten()
        })
    }

    /// Whether it gives the answer of the first style that has one.
    pub fn same_answer(&self, run: &Run) -> bool {
        let first = self.of(&run.workload).find_map(Run::answer);
        run.answer().is_some() && run.answer() == first
    }

    /// Why a run is not as it should be: it failed, or answers otherwise.
    pub fn fault(&self, run: &Run) -> Option<String> {
        match &run.outcome {
            Outcome::Failed(why) => Some(why.clone()),
            Outcome::Refused(_) => None,
            Outcome::Ran(_) => {
                let section = run.section()?;
                if !self.same_answer(run) {
                    return Some("another answer".into());
                }
                (section["ok"] == false).then(|| "a wrong answer".into())
            }
        }
    }

    pub fn has_failures(&self) -> bool {
        let python = self.python.iter().flat_map(|python| &python.runs);
        self.runs.iter().chain(python).any(|run| self.fault(run).is_some())
    }

    /// The reason, if no style can do what was asked for.
    pub fn refused_by_all(&self) -> Option<String> {
        let refusal = |run: &Run| match &run.outcome {
            Outcome::Refused(why) => Some(why.clone()),
            _ => None,
        };
        let all: Option<Vec<String>> = self.runs.iter().map(refusal).collect();
        all?.into_iter().next()
    }

    /// The claims that a style's runs decide: id, what it says, verdict and evidence.
    pub fn claims(&self, style: &str) -> Vec<&Value> {
        let of_style = self.runs.iter().filter(|run| run.style == style);
        let documents = of_style.filter_map(Run::document);
        let mut claims: Vec<&Value> = Vec::new();
        for claim in documents.filter_map(|document| document["claims"].as_array()).flatten() {
            let decided = claim["verdict"] != "not run";
            match claims.iter_mut().find(|known| known["id"] == claim["id"]) {
                Some(known) if decided => *known = claim,
                Some(_) => {}
                None => claims.push(claim),
            }
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(style: &str, answer: &str) -> Run {
        let section = json!({"answer": [answer], "ok": true, "wall_s": 0.3, "limit_s": 0.1,
            "measured": {"other": [5.0], "runs": [0.2, 0.3, 0.4]}, "spans": [
                {"task": 0, "kind": "waiting", "from_us": 0, "to_us": 9, "pid": 1, "thread": 1},
                {"task": 0, "kind": "running", "from_us": 9, "to_us": 10, "pid": 1, "thread": 2}]});
        let document = json!({"workloads": {"w": section}});
        Run::new("w", style, Outcome::Ran(document))
    }

    #[test]
    fn figures_come_from_the_document() {
        let figures = run("one", "a").figures();
        assert_eq!((figures.runs, figures.spread_s), (3, Some((0.2, 0.4))));
        assert_eq!((figures.tasks, figures.threads, figures.processes), (1, 2, 1));
        assert!(figures.mostly_waits && (figures.times.unwrap() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn another_answer_than_the_first_is_a_fault() {
        let runs = vec![run("one", "a"), run("two", "a"), run("three", "b")];
        let record = Record { runs, ..Record::default() };
        let faults: Vec<bool> = record.runs.iter().map(|r| record.fault(r).is_some()).collect();
        assert_eq!(faults, [false, false, true]);
        assert!(record.has_failures());
    }

    #[test]
    fn what_only_some_can_hold_is_no_failure() {
        let mut refused = run("two", "");
        refused.outcome = Outcome::Refused("too many".into());
        let record = Record { runs: vec![refused.clone()], ..Record::default() };
        assert_eq!(record.refused_by_all().as_deref(), Some("too many"));
        let record = Record { runs: vec![run("one", "a"), refused], ..Record::default() };
        assert!(record.refused_by_all().is_none() && !record.has_failures());
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let record = Record { runs: vec![run("one", "a")], ..Record::default() };
        let again = Record::parse(&record.json().to_string()).expect("it was just written");
        assert_eq!(again.json(), record.json());
    }
}
