//! resources: what a task costs: memory, starting it, switching to it. Slide 21.
//!
//! Every run is measured in a process of its own: this program, started again with the argument
//! `measure-memory`. So no memory is left over from the run before, and a run that reaches a limit
//! of the machine ends only itself.

use std::fmt::Display;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Error;
use crate::machine::{field, setting};
use crate::measure::context::Context;
use crate::partner::child;
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::style::{Style, Task};
use crate::units::{bytes, count, plural, seconds};
use crate::workload::resources::{Meter, Reading};

/// How many tasks, and how many laps the token makes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Tasks that wait [default: by style, 100 to 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub tasks: Option<u64>,
    /// How many tasks pass the token on
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=10_000))]
    pub ring: u64,
    /// How many laps the token makes [default: for 0.1 s]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub laps: Option<u64>,
}

impl Args {
    /// # Errors
    ///
    /// More tasks than the style can hold.
    pub fn check(&mut self, style: &Style) -> Result<(), Error> {
        let tasks = *self.tasks.get_or_insert(style.idle_tasks);
        style.holds(tasks.max(self.ring), "tasks")
    }

    /// What is measured, in a few words.
    pub fn title(&self) -> String {
        let tasks = plural(self.tasks.unwrap_or_default() as usize, "idle task");
        format!("{tasks}, then a ring of {}", self.ring)
    }
}

/// One run to be measured.
#[derive(Clone, Debug, clap::Args)]
pub struct MeasureMemory {
    /// What is measured
    #[arg(value_enum)]
    what: What,
    /// How many tasks
    n: usize,
    /// How many laps the token makes; 0 for as many as take a while
    laps: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Idle,
    Ring,
    /// The same in plain threads, for comparison.
    PlainIdle,
    PlainRing,
}

/// A ring is timed for at least this long, if the laps are not given.
const WHILE: Duration = Duration::from_millis(50);

/// Measures one run and prints the reading as a line of JSON.
pub(crate) fn measure_memory(style: &Style, run: &MeasureMemory) -> ExitCode {
    let MeasureMemory { n, laps, .. } = *run;
    let reading = match run.what {
        What::Idle => idle(style.resources_idle, n),
        What::PlainIdle => idle(plain_idle, n),
        What::Ring => ring(style.resources_ring, n, laps),
        What::PlainRing => ring(plain_ring, n, laps),
    };
    println!("{reading}");
    ExitCode::SUCCESS
}

fn idle(run: fn(usize, &mut Meter), n: usize) -> serde_json::Value {
    let mut meter = Meter::default();
    run(n, &mut meter);
    json!(meter.reading)
}

/// A ring that was timed: `token` is its value at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rounds {
    laps: usize,
    token: usize,
    seconds: f64,
}

fn ring(run: fn(usize, usize) -> usize, n: usize, laps: usize) -> serde_json::Value {
    let timed = |laps: usize| {
        let start = Instant::now();
        let token = run(n, laps);
        (token, start.elapsed())
    };
    // Without a lap: the time to set the ring up and to take it down.
    let (_, setup) = timed(0);
    let mut rounds = laps.max(1);
    loop {
        let (token, all) = timed(rounds);
        let took = all.saturating_sub(setup);
        if laps > 0 || took >= WHILE || token != n * rounds {
            return json!(Rounds { laps: rounds, token, seconds: took.as_secs_f64() });
        }
        rounds *= if took < WHILE / 20 { 8 } else { 2 };
    }
}

/// What a thread costs that is spawned in the usual way.
fn plain_idle(n: usize, meter: &mut Meter) {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().expect("no holder panics");
    let (arrive, arrivals) = mpsc::channel();
    let mut tasks = Vec::new();
    meter.begin();
    for _ in 0..n {
        let (gate, arrive) = (Arc::clone(&gate), arrive.clone());
        let wait = move || {
            let _ = arrive.send(());
            drop(gate.read());
        };
        match thread::Builder::new().spawn(wait) {
            Ok(task) => tasks.push(task),
            Err(error) => {
                meter.refused(&error);
                break;
            }
        }
    }
    for _ in &tasks {
        arrivals.recv().expect("every task arrives");
    }
    meter.waiting();
    drop(closed);
    meter.finished(tasks.into_iter().filter_map(|task| task.join().ok()).count());
}

fn plain_ring(n: usize, laps: usize) -> usize {
    let (first, mut inbox) = mpsc::channel();
    let mut tasks = Vec::new();
    for _ in 1..n {
        let (outbox, next) = mpsc::channel();
        tasks.push(thread::spawn(move || {
            while let Ok(token) = inbox.recv() {
                let _ = outbox.send(token + 1);
            }
        }));
        inbox = next;
    }
    let mut token = 0;
    for _ in 0..laps {
        first.send(token + 1).expect("the ring is unbroken");
        token = inbox.recv().expect("the ring is unbroken");
    }
    drop(first);
    for task in tasks {
        task.join().expect("passing it on does not panic");
    }
    token
}

/// What a task costs: each figure, one value per run.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    pub name: String,
    pub tasks: usize,
    /// Each is a thread or a process, which the kernel counts too.
    pub counted: bool,
    /// Bytes of memory for each task that waits.
    pub bytes: Times,
    /// Bytes that the kernel keeps for it as well: its stack in the kernel, and page tables.
    pub kernel: Times,
    /// Seconds to start one.
    pub start: Times,
    /// Seconds for each switch from one to the next.
    pub switch: Times,
    /// In how many runs all of them waited at the same time, and then finished.
    pub waited: usize,
}

/// What one or several runs showed.
#[derive(Debug)]
pub struct Measured {
    pub cost: Cost,
    /// A plain thread.
    pub thread: Cost,
    /// The same on the other event loops, if the style has several.
    pub other_loops: Vec<Cost>,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// A run cannot be started, or the machine ended it.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let style = context.style;
    let tasks = args.tasks.unwrap_or(style.idle_tasks) as usize;
    let own = style.label();
    let mut section = Section::default();
    let counted = matches!(style.task, Task::Thread | Task::Process);
    let mut cost = Cost { name: own.into(), tasks, counted, ..Cost::default() };
    let (plain, name) = (tasks.min(PLAIN), "a plain thread".into());
    let mut thread = Cost { name, tasks: plain, counted: true, ..Cost::default() };
    let others = context.styles.iter().map(Style::label).filter(|name| *name != own);
    let other = |name: &str| Cost { name: name.into(), tasks, ..Cost::default() };
    let mut other_loops: Vec<Cost> = others.map(other).collect();
    for _ in 0..context.repeat {
        // In turns: a busy machine then slows all of them.
        let wrong = measure(args, &mut cost, (What::Idle, What::Ring), style.event_loop)?;
        let wrong = wrong.or(measure(args, &mut thread, (What::PlainIdle, What::PlainRing), None)?);
        section.wrong = section.wrong.take().or(wrong);
        for other in &mut other_loops {
            let name = other.name.clone();
            let wrong = measure(args, other, (What::Idle, What::Ring), Some(&name))?;
            section.wrong = section.wrong.take().or(wrong);
        }
    }
    section.answers(match &section.wrong {
        None => vec![
            "idle: every task started, waited and finished".into(),
            "ring: the token came home".into(),
        ],
        Some(_) => Vec::new(),
    });
    let measured = Measured { cost, thread, other_loops };
    describe(context, &mut section, &measured);
    section.expect("all tasks wait at the same time", all_waited(&measured));
    Ok((section, measured))
}

/// This many threads are enough to measure one.
const PLAIN: usize = 1000;

/// Measures both, each in a process of its own, and says what is wrong with the answer.
fn measure(
    args: &Args,
    cost: &mut Cost,
    what: (What, What),
    on: Option<&str>,
) -> Result<Option<String>, Error> {
    let tasks = cost.tasks;
    let reading: Reading = in_child(what.0, tasks, 0, on)?;
    if let Some(refused) = reading.refused {
        let started = reading.finished;
        let short = format!("{started} of {tasks} tasks is what this machine gives: {refused}");
        return Err(Error::Failed(short));
    }
    cost.bytes.seconds.push(reading.bytes as f64 / tasks as f64);
    cost.kernel.seconds.push(reading.kernel as f64 / tasks as f64);
    cost.start.seconds.push(reading.start_s / tasks as f64);
    cost.waited += usize::from(all_there(cost, &reading));
    let ring = args.ring as usize;
    let rounds: Rounds = in_child(what.1, ring, args.laps.unwrap_or(0) as usize, on)?;
    let hops = ring * rounds.laps;
    cost.switch.seconds.push(rounds.seconds / hops as f64);
    Ok(if reading.finished != tasks {
        Some(format!("{} of {tasks} tasks finished", reading.finished))
    } else if rounds.token != hops {
        Some(format!("the token was passed on {} times, not {hops} times", rounds.token))
    } else {
        None
    })
}

fn in_child<T: for<'a> Deserialize<'a>>(
    what: What,
    n: usize,
    laps: usize,
    on: Option<&str>,
) -> Result<T, Error> {
    let failed = |why: &dyn Display| Error::Failed(format!("{n} tasks cannot be measured: {why}"));
    let what = what.to_possible_value().expect("none of them is hidden");
    let mut program = child::command();
    program.args(["measure-memory", what.get_name()]);
    program.args([n.to_string(), laps.to_string()]);
    if let Some(on) = on {
        program.args(["--loop", on]);
    }
    let output = program.stderr(Stdio::piped()).output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        // The first line after that of a panic has the reason; the next ones are about backtraces.
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.is_empty() && !line.starts_with("thread '"));
        let said = said.unwrap_or("it said nothing");
        let beyond = format!("{n} tasks are more than this machine holds: {said}");
        return Err(match output.status.signal() {
            Some(_) => Error::Failed(format!("{beyond} ({})", output.status)),
            None => failed(&said),
        });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))
}

fn describe(context: &Context, section: &mut Section, m: &Measured) {
    let rows: Vec<&Cost> = [&m.cost].into_iter().chain(&m.other_loops).chain([&m.thread]).collect();
    section.wall_s = Some(m.cost.start.median() * m.cost.tasks as f64);
    section.baseline_s = Some(m.thread.start.median() * m.cost.tasks as f64);
    let runs = match m.cost.start.seconds.len() {
        1 => m.cost.start.note(&context.machine),
        n => format!("{n} runs"),
    };
    for figure in &FIGURES {
        section.shown.push(format!("  {:<39}each █ doubles · {runs}", figure.title));
        for cost in &rows {
            section.shown.push(figure.row(cost));
        }
    }
    let limits = limits(context, &m.cost);
    let words: Vec<String> =
        limits.iter().take(2).map(|(n, name)| format!("{} ({name})", count(*n))).collect();
    section.shown.push(format!("  the limits here: {}", words.join(", ")));
    let limit = |(n, name): &(f64, &str)| json!({"tasks": n.floor(), "name": name});
    section.measure("limits", limits.iter().map(limit).collect());
    let row = |cost: &&Cost| {
        json!({"name": cost.name, "tasks": cost.tasks, "bytes": cost.bytes.median(),
            "kernel_bytes": cost.kernel.median(), "start_s": cost.start.median(),
            "switch_s": cost.switch.median()})
    };
    section.picture = json!({"kind": "log-bars", "rows": rows.iter().map(row).collect::<Vec<_>>()});
    for cost in rows {
        let all = |times: &Times| json!({"median": times.median(), "runs": times.seconds});
        let figures = json!({"tasks": cost.tasks, "bytes": all(&cost.bytes),
            "kernel_bytes": all(&cost.kernel), "start_s": all(&cost.start), "switch_s": all(&cost.switch)});
        section.measure(&cost.name, figures);
    }
}

/// How many tasks there can be at once, by what limits them, the smallest first.
fn limits(context: &Context, cost: &Cost) -> Vec<(f64, &'static str)> {
    let of = |file: &str| setting(&format!("/proc/sys/{file}")).map(|n| n as f64);
    let bytes = (cost.bytes.median() + cost.kernel.median()).max(1.0);
    let memory = field("/proc/meminfo", "MemAvailable:") as f64 / bytes;
    let mut limits = vec![(context.style.at_most as f64, "this program"), (memory, "free memory")];
    let mut known = |limit: Option<f64>, name| limits.extend(limit.map(|limit| (limit, name)));
    if matches!(context.style.task, Task::Thread | Task::Process) {
        known(of("kernel/pid_max"), "kernel.pid_max");
        known(of("kernel/threads-max"), "kernel.threads-max");
        known(setting("/sys/fs/cgroup/pids.max").map(|n| n as f64), "pids.max of the cgroup");
        let (processes, _) = getrlimit(Resource::RLIMIT_NPROC).unwrap_or((RLIM_INFINITY, 0));
        // Root may start as many as the kernel allows.
        let limited = processes != RLIM_INFINITY && !geteuid().is_root();
        known(limited.then_some(processes as f64), "ulimit -u");
    }
    if matches!(context.style.task, Task::Thread | Task::Stack) {
        // A stack and its guard page are two mappings.
        known(of("vm/max_map_count").map(|maps| maps / 2.0), "vm.max_map_count");
    }
    limits.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    limits
}

/// Whether all tasks finished, and were there at the same time where the kernel counts them.
fn all_there(cost: &Cost, reading: &Reading) -> bool {
    let Cost { tasks, counted, .. } = *cost;
    reading.finished == tasks && (!counted || reading.threads >= tasks as u64)
}

fn all_waited(m: &Measured) -> Verdict {
    let Cost { tasks, waited, start, .. } = &m.cost;
    let runs = start.seconds.len();
    let said = format!(
        "{} waited at the same time and finished, in {waited} of {runs} runs",
        plural(*tasks, "task")
    );
    let all = runs > 0 && *waited == runs;
    if all { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

/// What is measured of every kind of task, and how it is shown.
struct Figure {
    title: &'static str,
    of: fn(&Cost) -> &Times,
    unit: fn(f64) -> String,
    /// The smallest value that is drawn.
    least: f64,
}

const FIGURES: [Figure; 3] = [
    Figure {
        title: "memory per task, and in the kernel",
        of: |cost| &cost.bytes,
        unit: bytes,
        least: 1.0,
    },
    Figure { title: "starting a task", of: |cost| &cost.start, unit: seconds, least: 1e-9 },
    Figure {
        title: "a switch to the next task",
        of: |cost| &cost.switch,
        unit: seconds,
        least: 1e-9,
    },
];

impl Figure {
    /// A block for each doubling, then the spread of the runs.
    fn row(&self, cost: &Cost) -> String {
        let (times, unit) = ((self.of)(cost), self.unit);
        let median = times.median();
        let halves = ((median / self.least).max(1.0).log2() * 2.0).round() as usize;
        let bar = "█".repeat(halves / 2) + if halves % 2 == 1 { "▌" } else { "" };
        let low = times.seconds.iter().copied().fold(f64::MAX, f64::min);
        let high = times.seconds.iter().copied().fold(0.0, f64::max);
        let spread = if times.seconds.len() > 1 {
            format!("{} – {}", unit(low), unit(high))
        } else {
            String::new()
        };
        // The memory of the kernel stands beside that of the program.
        let kernel =
            if self.title.contains("kernel") { unit(cost.kernel.median()) } else { String::new() };
        let (name, median) = (&cost.name, unit(median));
        format!("    {name:<14} {median:>9} {kernel:>9}  {bar:<20} {spread}").trim_end().to_string()
    }
}

/// The memory of the program and of the kernel.
fn memory_of(cost: &Cost) -> f64 {
    cost.bytes.median() + cost.kernel.median()
}

/// P7: a process costs more memory and more time to start than a thread.
pub fn more_than_a_thread(m: &Measured) -> Verdict {
    if m.cost.bytes.median() == 0.0 || m.thread.bytes.median() == 0.0 {
        return Verdict::NotMeasurable("too few tasks to measure them".into());
    }
    let memory = memory_of(&m.cost) / memory_of(&m.thread);
    let start = m.cost.start.median() / m.thread.start.median();
    let said = format!(
        "{} and {} for each process, {} and {} for each thread",
        bytes(memory_of(&m.cost)),
        seconds(m.cost.start.median()),
        bytes(memory_of(&m.thread)),
        seconds(m.thread.start.median())
    );
    match (memory > 1.0, start > 1.0) {
        (true, true) => Verdict::Holds(format!("{said}: {memory:.0} × and {start:.0} × as much")),
        (false, _) => Verdict::Fails(said),
        // On a busy machine a thread may start slowly. That does not refute the claim.
        (true, false) => Verdict::NotMeasurable(format!("too busy to tell: {said}")),
    }
}

#[cfg(test)]
mod tests;
