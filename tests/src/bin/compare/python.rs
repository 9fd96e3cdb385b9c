//! The talk's Python beside the Rust: its files, what they took, and what that says of the GIL.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::programs::workspace;
use ::tests::sites::SiteByHand;
use ::tests::styles::{Style, THREADS};
use clap::Parser;
use common::measure::{cpu_bound, io_bound};
use common::report::stats::Times;
use common::report::verdict::Verdict;
use serde_json::{Value, json};

use crate::Problem;
use crate::record::{Outcome, Python, Record};
use crate::run::{End, Runner};
use crate::table::seconds;

/// The workload's file in the talk's Python, seen from the workspace; only some have one.
pub fn file(style: &Style, workload: &str) -> Option<PathBuf> {
    let path = PathBuf::from(style.program).join("python").join(workload.replace('-', "_") + ".py");
    workspace().join(&path).exists().then_some(path)
}

/// The styles whose Python is run: the loops of one program share a file, so the first stands for
/// all.
pub fn of<'a>(styles: &[&'a Style], workload: &str) -> Vec<&'a Style> {
    let mut found: Vec<&Style> = Vec::new();
    for style in styles.iter().filter(|style| file(style, workload).is_some()) {
        if found.iter().all(|known| known.program != style.program) {
            found.push(style);
        }
    }
    found
}

/// An interpreter.
pub struct Interpreter {
    path: PathBuf,
    /// Its name and version, or why it cannot be run.
    version: Result<String, String>,
}

/// What is run if no path is given.
pub const DEFAULT: &str = "python3";

const VERSION: &str = "import platform as p, sys; \
    print(p.python_implementation(), '%d.%d' % sys.version_info[:2])";

impl Interpreter {
    /// # Errors
    ///
    /// It was asked for by its path, and it is none. Without `python3` in the search path the rows
    /// say so.
    pub fn new(path: PathBuf) -> Result<Interpreter, Problem> {
        let version = match Command::new(&path).args(["-c", VERSION]).output() {
            Ok(output) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
            }
            Ok(_) => Err(format!("{} is no Python", path.display())),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        match version {
            Err(why) if path != Path::new(DEFAULT) => Err(Problem::Usage(why)),
            version => Ok(Interpreter { path, version }),
        }
    }

    /// An empty list of its runs.
    pub fn record(&self) -> Python {
        Python { name: self.version.clone().unwrap_or("CPython".into()), runs: Vec::new() }
    }

    /// Runs one file as a Rust program is run with these flags; none if it was interrupted.
    pub fn run(
        &self,
        runner: &mut Runner,
        style: &Style,
        workload: &str,
        flags: &[String],
    ) -> Option<Outcome> {
        if let Err(why) = &self.version {
            return Some(Outcome::Refused(why.clone()));
        }
        let file = file(style, workload).expect("only what has a file is run");
        let children = style.program == "processes";
        let mut run = |args: &[String], repeat| {
            self.repeatedly(runner, &file, args, repeat).map(|all| Runs { children, ..all })
        };
        let section = match Flags::of(workload, flags) {
            Ok(Flags::IoBound(args, repeat)) => io_bound(&args, |urls| run(urls, repeat)),
            Ok(Flags::CpuBound(args, repeat)) => cpu_bound(&args, repeat, run),
            Err(why) => return Some(Outcome::Refused(why)),
        };
        match section {
            Ok(section) => Some(Outcome::Ran(json!({"workloads": {workload: section}}))),
            Err(Stop::Outcome(outcome)) => Some(outcome),
            Err(Stop::Interrupted) => None,
        }
    }

    fn repeatedly(
        &self,
        runner: &mut Runner,
        file: &Path,
        args: &[String],
        repeat: usize,
    ) -> Result<Runs, Stop> {
        let mut runs = Runs::default();
        for _ in 0..repeat {
            let mut command = Command::new(&self.path);
            command.arg(workspace().join(file)).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
            let (stdout, stderr) = match runner.run(command, DEADLINE) {
                End::Said { code: Some(0), stdout, stderr } => (stdout, stderr),
                End::Said { code, stderr, .. } => return Err(failed(code, &stderr)),
                End::Failed(why) => return Err(Stop::Outcome(Outcome::Failed(why))),
                End::Interrupted => return Err(Stop::Interrupted),
            };
            let took = stderr.lines().find_map(Took::parse);
            let took = took.ok_or_else(|| failed(Some(0), "it did not say what it took"))?;
            runs.took.push(took);
            runs.answer = stdout.lines().map(String::from).collect();
        }
        Ok(runs)
    }
}

fn io_bound(
    args: &io_bound::Args,
    mut run: impl FnMut(&[String]) -> Result<Runs, Stop>,
) -> Result<Value, Stop> {
    if !args.urls.is_empty() {
        return Ok(run(&args.urls)?.section());
    }
    let mut site = SiteByHand::start(&THREADS);
    let delay = args.latency.as_millis();
    let url = |n| format!("{}/page/{n}?delay={delay}", site.url);
    let urls: Vec<String> = (0..args.pages).map(url).collect();
    let all = run(&urls)?;
    let mut section = all.section();
    section["answer"] = json!(without_site(&all.answer, &site.url));
    section["limit_s"] = json!(args.latency.as_secs_f64());
    let verdict = io_bound::waits_overlap(&io_bound::Measured {
        pages: urls.len(),
        at_once: urls.len(),
        cores: cores(),
        walls: Times::default(),
        most_open: Some(site.stats().most_open),
        threads: 1,
        in_turn: None,
    });
    section["expectation"] = json!({"says": "the waits overlap",
        "verdict": verdict.word(), "evidence": verdict.evidence()});
    Ok(section)
}

fn cpu_bound(
    args: &cpu_bound::Args,
    repeat: usize,
    mut run: impl FnMut(&[String], usize) -> Result<Runs, Stop>,
) -> Result<Value, Stop> {
    let flags = |tasks: u64| [tasks.to_string(), args.below.to_string()];
    let alone = run(&flags(1), 1)?;
    let all = run(&flags(args.tasks), repeat)?;
    // What a run has needed is enough for it, however long one count took on a busy machine.
    let needed = all.took.iter().map(|took| took.cpu_s).fold(f64::INFINITY, f64::min);
    let in_turn = needed.min(alone.took[0].cpu_s * args.tasks as f64);
    let mut section = all.section();
    section["limit_s"] = json!(in_turn / cores().min(args.tasks as usize) as f64);
    let measured = &mut section["measured"];
    measured["in_turn_cpu_s"] = json!(in_turn);
    measured["tasks"] = json!(args.tasks);
    measured["cores"] = json!(cores());
    Ok(section)
}

/// How long one run may take: at the default size CPython counts primes for half a minute.
const DEADLINE: std::time::Duration = std::time::Duration::from_mins(5);

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

enum Stop {
    Outcome(Outcome),
    Interrupted,
}

/// A missing package is no failure: what needs it is not run.
fn failed(code: Option<i32>, stderr: &str) -> Stop {
    let last = stderr.lines().rfind(|line| !line.is_empty()).unwrap_or("no word");
    let missing = last.strip_prefix("ModuleNotFoundError: No module named ");
    Stop::Outcome(match (missing, code) {
        (Some(name), _) => Outcome::Refused(format!("no {}", name.trim_matches('\''))),
        (None, Some(code)) => Outcome::Failed(format!("exit code {code}: {last}")),
        (None, None) => Outcome::Failed("ended by a signal".into()),
    })
}

/// The workload's flags, as the Rust programs read them, and how often it is run.
enum Flags {
    IoBound(io_bound::Args, usize),
    CpuBound(cpu_bound::Args, usize),
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct WithRepeat<A: clap::Args> {
    #[command(flatten)]
    args: A,
    #[arg(long, default_value_t = 1)]
    repeat: usize,
}

impl Flags {
    /// What the Python has no flag for is a reason not to run it.
    fn of(workload: &str, flags: &[String]) -> Result<Flags, String> {
        let known = ["--pages", "--latency", "--tasks", "--below", "--repeat"];
        let names = flags.iter().filter(|flag| flag.starts_with("--"));
        let mut names = names.map(|flag| flag.split('=').next().unwrap_or(flag));
        if let Some(flag) = names.find(|name| !known.contains(name)) {
            return Err(format!("{flag} is for the Rust programs alone"));
        }
        let wrong = |error: clap::Error| error.to_string().lines().next().unwrap_or("").to_string();
        if workload == "io-bound" {
            let WithRepeat { args, repeat } = WithRepeat::try_parse_from(flags).map_err(wrong)?;
            Ok(Flags::IoBound(args, repeat))
        } else {
            let WithRepeat { args, repeat } = WithRepeat::try_parse_from(flags).map_err(wrong)?;
            Ok(Flags::CpuBound(args, repeat))
        }
    }
}

/// What one run has said of itself (`common/python/measured.py`).
#[derive(Debug, PartialEq)]
struct Took {
    wall_s: f64,
    cpu_s: f64,
    switches: u64,
    peak_kib: u64,
}

impl Took {
    fn parse(line: &str) -> Option<Took> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["took", wall, "s,", "CPU", cpu, "s,", switches, "context", "switches,", peak, "KiB"] =
            words[..]
        else {
            return None;
        };
        Some(Took {
            wall_s: wall.parse().ok()?,
            cpu_s: cpu.parse().ok()?,
            switches: switches.parse().ok()?,
            peak_kib: peak.parse().ok()?,
        })
    }
}

/// Several runs of one file.
#[derive(Default)]
struct Runs {
    answer: Vec<String>,
    took: Vec<Took>,
    /// Whether its children do the work; then its own memory says little.
    children: bool,
}

impl Runs {
    /// As a program's document has it.
    fn section(&self) -> Value {
        let walls = Times { seconds: self.took.iter().map(|took| took.wall_s).collect() };
        let median = walls.median();
        let nearest = |took: &&Took| ((took.wall_s - median).abs() * 1e9) as u64;
        let typical = self.took.iter().min_by_key(nearest).expect("it was run once at least");
        let peak = (!self.children).then_some(typical.peak_kib);
        json!({"answer": self.answer, "ok": true, "wall_s": median, "cpu_s": typical.cpu_s,
            "peak_kib": peak, "spans": [],
            "measured": {"runs": walls.seconds, "context_switches": typical.switches}})
    }
}

/// The answer's lines as the Rust programs have them for their built-in site: by page, not by URL.
fn without_site(lines: &[String], site: &str) -> Vec<String> {
    let page = |line: &String| {
        let (url, words) = line.split_once(' ')?;
        let page = url.strip_prefix(site)?.split('?').next()?;
        Some((page.to_string(), words.trim_start().to_string()))
    };
    let pages: Vec<(String, String)> = lines.iter().filter_map(page).collect();
    let width = pages.iter().map(|(page, _)| page.len()).max().unwrap_or(0);
    pages.into_iter().map(|(page, words)| format!("{page:<width$}  {words}")).collect()
}

/// What the claims T5, T8 and T9 come to under the real GIL.
pub fn claims(record: &Record) -> Vec<(&'static str, Verdict)> {
    let python = record.python.iter().flat_map(|python| &python.runs);
    let figures = |program: &str| {
        let run = python.clone().find(|run| run.is("cpu-bound", program))?;
        Counts::of(run.section()?)
    };
    let Some(threads) = figures("threads") else { return Vec::new() };
    let in_processes = figures("processes").map(|processes| threads.slower_than(&processes));
    let all =
        [("T5", Some(threads.no_faster())), ("T8", Some(threads.fight())), ("T9", in_processes)];
    let judged = all.into_iter().filter_map(|(id, verdict)| Some((id, verdict?)));
    judged.collect()
}

/// The figures of one cpu-bound run.
#[derive(Clone, Copy)]
struct Counts {
    wall_s: f64,
    in_turn_s: f64,
    switches: u64,
    tasks: u64,
    cores: u64,
}

impl Counts {
    fn of(section: &Value) -> Option<Counts> {
        let measured = &section["measured"];
        Some(Counts {
            wall_s: section["wall_s"].as_f64()?,
            in_turn_s: measured["in_turn_cpu_s"].as_f64()?,
            switches: measured["context_switches"].as_u64()?,
            tasks: measured["tasks"].as_u64()?,
            cores: measured["cores"].as_u64()?,
        })
    }

    /// T5. Threads that ran at the same time on two cores would take half of it.
    fn no_faster(&self) -> Verdict {
        let (wall, in_turn) = (seconds(self.wall_s), seconds(self.in_turn_s));
        let evidence = format!("{} threads took {wall}, one after the other {in_turn}", self.tasks);
        self.judge(self.wall_s > 0.8 * self.in_turn_s, evidence)
    }

    /// T8. A thread that runs undisturbed switches once, at its end.
    fn fight(&self) -> Verdict {
        let no_faster = self.no_faster();
        let evidence = format!("{}, with {} context switches", no_faster.evidence(), self.switches);
        self.judge(!no_faster.fails() && self.switches > 10 * self.tasks, evidence)
    }

    /// T9. Each process has a GIL of its own.
    fn slower_than(&self, processes: &Counts) -> Verdict {
        let (threads, others) = (seconds(self.wall_s), seconds(processes.wall_s));
        let evidence = format!("{} threads took {threads}, as many processes {others}", self.tasks);
        self.judge(processes.wall_s < 0.75 * self.wall_s, evidence)
    }

    fn judge(&self, holds: bool, evidence: String) -> Verdict {
        match () {
            () if self.cores.min(self.tasks) < 2 => {
                Verdict::NotMeasurable("it takes two cores and two tasks".into())
            }
            () if holds => Verdict::Holds(evidence),
            () => Verdict::Fails(evidence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_took_is_read_from_its_line() {
        let line = "took 0.250000 s, CPU 0.125000 s, 7 context switches, 9216 KiB";
        let took = Took { wall_s: 0.25, cpu_s: 0.125, switches: 7, peak_kib: 9216 };
        assert_eq!(Took::parse(line), Some(took));
        assert_eq!(Took::parse("took a while"), None);
    }

    #[test]
    fn a_missing_package_is_a_reason_and_a_traceback_a_failure() {
        let outcome = |stderr: &str| match failed(Some(1), stderr) {
            Stop::Outcome(outcome) => outcome,
            Stop::Interrupted => panic!("nobody pressed Ctrl-C"),
        };
        let missing = outcome("Traceback:\n  x\nModuleNotFoundError: No module named 'gevent'\n");
        assert!(matches!(missing, Outcome::Refused(why) if why == "no gevent"));
        let raised = outcome("Traceback:\n  x\nValueError: no\n");
        assert!(matches!(raised, Outcome::Failed(why) if why == "exit code 1: ValueError: no"));
    }

    #[test]
    fn pages_of_the_built_in_site_lose_its_address() {
        let lines = ["/page/9?delay=50  200", "/page/10?delay=50  404"];
        let lines = lines.map(|line| format!("http://127.0.0.1:1{line}"));
        let pages = without_site(&lines, "http://127.0.0.1:1");
        assert_eq!(pages, ["/page/9   200", "/page/10  404"]);
    }

    #[test]
    fn flags_that_the_python_does_not_have_are_a_reason() {
        let flags = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let given = Flags::of("io-bound", &flags("--pages 3 --latency 5ms --repeat 2"));
        assert!(matches!(given, Ok(Flags::IoBound(args, 2)) if args.pages == 3));
        let given = Flags::of("io-bound", &flags("--at-once=3"));
        assert!(matches!(given, Err(why) if why == "--at-once is for the Rust programs alone"));
    }

    #[test]
    fn verdicts_follow_the_figures() {
        let gil = Counts { wall_s: 6.0, in_turn_s: 6.1, switches: 900, tasks: 6, cores: 2 };
        let processes = Counts { wall_s: 3.1, ..gil };
        let judge = |threads: Counts| {
            [threads.no_faster(), threads.fight(), threads.slower_than(&processes)]
                .map(|verdict| verdict.word())
        };
        let (yes, no) = ("holds", "does not hold");
        assert_eq!(judge(gil), [yes, yes, yes]);
        assert_eq!(judge(Counts { wall_s: 3.2, ..gil }), [no, no, no]);
        assert_eq!(judge(Counts { switches: 8, ..gil }), [yes, no, yes]);
        assert_eq!(judge(Counts { cores: 1, ..gil }), ["not measurable here"; 3]);
    }
}
