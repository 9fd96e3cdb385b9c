//! cpu-bound: count primes, several counts at once. Slides 3, 9-11, 18-20, 24-26.

use serde_json::json;

use crate::error::Error;
use crate::machine::cpu_seconds;
use crate::measure::context::Context;
use crate::measure::io_bound;
use crate::report::bars::{Bar, bars};
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::span::{interleaved, threads, turns};
use crate::style::{Also, CountPrimes, Style};
use crate::units::plural;
use crate::workload::cpu_bound::{Count, Counted};

/// How many primes there are below a number, by a sieve: the expected answer, computed in another
/// way.
fn primes_below(below: u64) -> u64 {
    let mut composite = vec![false; below as usize];
    let mut primes = 0;
    for n in 2..below as usize {
        if !composite[n] {
            primes += 1;
            composite.iter_mut().skip(n * n).step_by(n).for_each(|c| *c = true);
        }
    }
    primes
}

/// How much is counted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many counts at once
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub tasks: u64,
    /// Count the primes below this number
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub below: u64,
    /// Run another of the style's functions
    #[arg(long, value_name = "NAME")]
    pub way: Option<String>,
}

impl Args {
    /// # Errors
    ///
    /// More tasks than the style can hold.
    pub fn check(&self, style: &Style) -> Result<(), Error> {
        self.run(style)?;
        style.holds(self.tasks, "tasks")
    }

    /// The function that the flags select.
    fn run(&self, style: &Style) -> Result<CountPrimes, Error> {
        let Some(name) = &self.way else { return Ok(style.cpu_bound) };
        style.way(name, |also| match also {
            Also::CpuBound(name, run) => Some((name, *run)),
            _ => None,
        })
    }

    /// What is counted, in a few words.
    pub fn title(&self) -> String {
        format!("{}, the primes below {}", plural(self.tasks as usize, "task"), self.below)
    }

    fn counts(&self) -> Vec<Count> {
        let tasks = 0..self.tasks as usize;
        tasks.map(|task| Count::new(task, self.below)).collect()
    }
}

/// What one or several runs showed.
pub struct Measured {
    pub tasks: usize,
    pub cores: usize,
    pub walls: Times,
    /// The same one after the other, run just before: seconds taken, and seconds of CPU.
    pub in_turn_s: f64,
    pub in_turn_cpu_s: f64,
    /// Cores in use on average over the run: CPU seconds of all threads and processes, divided by
    /// the wall time.
    pub at_work: f64,
    /// How many threads, of all processes, the tasks ended in.
    pub threads: usize,
    /// How many tasks ran between the beginning and the end of another task.
    pub interleaved: usize,
    /// How often a task ran after a different task.
    pub turns: usize,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// None so far: the work needs no partner.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let run = args.run(context.style)?;
    let primes = primes_below(args.below);
    let mut section = Section::default();
    let (mut in_turn, mut walls) = (Times::default(), Times::default());
    let mut in_turn_cpu = 0.0;
    for _ in 0..context.repeat {
        let before = cpu_seconds();
        in_turn.time(|| args.counts().into_iter().map(one_after_the_other).count());
        in_turn_cpu += cpu_seconds() - before;
        let counted = section.watch(|| walls.time(|| run(args.counts())));
        section.answers(counted.iter().map(line).collect());
        let mut places = counted.iter().enumerate();
        let odd = places.find(|(place, c)| c.task != *place || c.primes != primes);
        if counted.len() != args.tasks as usize || odd.is_some() {
            section.wrong = Some(format!("each of the {} counts is {primes}", args.tasks));
        }
        section.spans = counted.into_iter().flat_map(|c| c.spans).collect();
    }
    let measured = Measured {
        tasks: args.tasks as usize,
        cores: context.machine.cores,
        in_turn_s: in_turn.median(),
        in_turn_cpu_s: in_turn_cpu / context.repeat as f64,
        at_work: section.cpu.seconds.iter().sum::<f64>() / walls.seconds.iter().sum::<f64>(),
        threads: threads(&section.spans),
        interleaved: interleaved(&section.spans),
        turns: turns(&section.spans),
        walls,
    };
    describe(context, &mut section, &measured);
    section.expect("no task waits until another is done", side_by_side(&measured));
    Ok((section, measured))
}

fn one_after_the_other(mut count: Count) -> Counted {
    while count.slice() {}
    count.finish()
}

fn line(counted: &Counted) -> String {
    let Counted { task, below, primes, .. } = counted;
    format!("task {task}: {primes} primes below {below}")
}

fn describe(context: &Context, section: &mut Section, m: &Measured) {
    let wall = m.walls.median();
    let limit = m.in_turn_s / m.cores.min(m.tasks) as f64;
    section.wall_s = Some(wall);
    section.baseline_s = Some(m.in_turn_s);
    section.limit_s = Some(limit);
    let cores = format!("{} at work", plural(m.cores.min(m.tasks), "core"));
    section.shown = bars(&[
        Bar::new(context.style.label(), wall, &m.walls.note(&context.machine)),
        Bar::new("one by one", m.in_turn_s, &format!("{:.2} × as long", m.in_turn_s / wall)),
        Bar::new("the limit", limit, &cores),
    ]);
    section.draw();
    // A single thread keeps one core busy. If it did not, something else had the core.
    let busy = if m.at_work < 0.9 { ": the machine was busy" } else { "" };
    let Measured { at_work, cores, .. } = m;
    section.shown.push(format!("  cores in use, on average: {at_work:.2} of {cores}{busy}"));
    section.measure("runs", json!(m.walls.seconds));
    section.measure("cores_in_use", json!(m.at_work));
    section.measure("threads", json!(m.threads));
    section.measure("in_turn_cpu_s", json!(m.in_turn_cpu_s));
    section.measure("interleaved", json!(m.interleaved));
    section.measure("turns", json!(m.turns));
}

/// What every style is expected to show: the tasks make progress together.
fn side_by_side(m: &Measured) -> Verdict {
    let said = format!(
        "{} of {} ran beside another, {} on {}",
        m.interleaved,
        plural(m.tasks, "task"),
        plural(m.turns, "turn"),
        plural(m.threads, "thread")
    );
    match m.interleaved {
        _ if m.tasks < 2 => Verdict::NotMeasurable("one task alone".into()),
        0 => Verdict::Fails(said),
        _ => Verdict::Holds(said),
    }
}

/// Whether more than one core was at work, or that this cannot be decided.
enum Cores {
    /// Not even taking turns: each task ran to its end before the next began.
    Succession,
    One,
    Several,
    Unclear(String),
}

/// Decided by the CPU time that the kernel counted, not by the wall clock: on a busy machine both
/// runs take longer, but one thread never uses more than one core.
fn cores_at_work(m: &Measured) -> Cores {
    if m.tasks < 2 {
        Cores::Unclear("one task alone".into())
    } else if m.interleaved == 0 {
        Cores::Succession
    } else if m.at_work >= 1.3 {
        Cores::Several
    } else if m.threads == 1 {
        Cores::One
    } else if m.cores < 2 {
        Cores::Unclear("one core only".into())
    } else if m.walls.seconds.iter().sum::<f64>() < 0.05 {
        Cores::Unclear("over too soon to tell".into())
    } else {
        Cores::Unclear(format!("the machine gave {:.2} cores", m.at_work))
    }
}

const SUCCESSION: &str = "each task ran to its end before the next began";

/// T5, T9: threads do not speed up computing. In Rust they do.
pub fn no_faster_for_a_lock(m: &Measured) -> Verdict {
    match cores_at_work(m) {
        Cores::Several => Verdict::Differs(format!("no GIL: {}", faster(m))),
        Cores::One => Verdict::Holds("only one core was at work".into()),
        Cores::Succession => Verdict::Fails(SUCCESSION.into()),
        Cores::Unclear(why) => Verdict::NotMeasurable(why),
    }
}

/// P5, P6: as fast as the cores allow.
pub fn as_fast_as_the_cores(m: &Measured) -> Verdict {
    match cores_at_work(m) {
        Cores::Several => Verdict::Holds(faster(m)),
        Cores::One => Verdict::Fails("only one core was at work".into()),
        Cores::Succession => Verdict::Fails(SUCCESSION.into()),
        Cores::Unclear(why) => Verdict::NotMeasurable(why),
    }
}

/// K6: no faster than one after the other.
pub fn no_faster_on_one_thread(m: &Measured) -> Verdict {
    match cores_at_work(m) {
        Cores::Several => Verdict::Fails(faster(m)),
        Cores::Succession => Verdict::Fails(SUCCESSION.into()),
        Cores::One => Verdict::Holds(format!(
            "{} took {} on one thread, {:.2} of its core in use",
            plural(m.tasks, "task"),
            plural(m.turns, "turn"),
            m.at_work
        )),
        Cores::Unclear(why) => Verdict::NotMeasurable(why),
    }
}

/// C1: concurrency is not parallel computing: more tasks are under way than cores are at work.
pub fn more_under_way_than_cores(io: &io_bound::Measured, cpu: &Measured) -> Verdict {
    let Some(open) = io.most_open.filter(|_| io.at_once > cpu.cores) else {
        return Verdict::NotMeasurable("too few pages, or none of the built-in site".into());
    };
    let said = format!(
        "{} under way at once on {}; {:.2} of {} at work in cpu-bound",
        plural(open, "page"),
        plural(io.threads, "thread"),
        cpu.at_work,
        plural(cpu.cores, "core")
    );
    let more = open > cpu.cores && open as f64 > cpu.at_work;
    if more { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

/// C2: one after the other, waiting costs the sum of the waits, and computing the sum of the work.
pub fn baselines_are_sums(io: &io_bound::Measured, cpu: &Measured) -> Verdict {
    let Some((took, waits)) = io.in_turn else {
        return Verdict::NotMeasurable("needs pages of the built-in site".into());
    };
    let said = format!(
        "waits of {waits:.2} s took {took:.2} s, computing of {:.2} s took {:.2} s",
        cpu.in_turn_cpu_s, cpu.in_turn_s
    );
    if took < waits || cpu.in_turn_s * 1.05 + 0.02 < cpu.in_turn_cpu_s {
        Verdict::Fails(said)
    } else {
        Verdict::Holds(said)
    }
}

fn faster(m: &Measured) -> String {
    let factor = m.in_turn_s / m.walls.median();
    format!("{:.2} cores at work, {factor:.2} × as fast as one by one", m.at_work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::cpu_bound::SLICE;

    #[test]
    fn slices_and_the_sieve_agree() {
        for below in [1, 2, 3, 4, 30, 1000, SLICE, SLICE + 1, SLICE + 2, SLICE + 3, 20_011] {
            let counted = one_after_the_other(Count::new(0, below));
            assert_eq!(counted.primes, primes_below(below), "{below}");
        }
        assert_eq!(primes_below(1_000_000), 78_498);
    }

    fn measured(at_work: f64, threads: usize, cores: usize) -> Measured {
        let walls = Times { seconds: vec![1.0] };
        let (in_turn_s, in_turn_cpu_s) = (2.0, 2.0);
        let (interleaved, turns) = (6, 60);
        Measured {
            tasks: 6,
            cores,
            walls,
            in_turn_s,
            in_turn_cpu_s,
            at_work,
            threads,
            interleaved,
            turns,
        }
    }

    #[test]
    fn verdicts_follow_the_cores_in_use() {
        let parallel = measured(1.9, 6, 2);
        assert_eq!(no_faster_for_a_lock(&parallel).word(), "differs in Rust");
        assert_eq!(as_fast_as_the_cores(&parallel).word(), "holds");
        assert_eq!(no_faster_on_one_thread(&parallel).word(), "does not hold");
        let turns = measured(0.99, 1, 2);
        assert_eq!(no_faster_on_one_thread(&turns).word(), "holds");
        assert_eq!(as_fast_as_the_cores(&turns).word(), "does not hold");
        let one_core = measured(0.99, 6, 1);
        assert_eq!(as_fast_as_the_cores(&one_core).word(), "not measurable here");
        let succession = Measured { interleaved: 0, ..measured(1.0, 1, 2) };
        assert_eq!(no_faster_on_one_thread(&succession).word(), "does not hold");
        assert_eq!(as_fast_as_the_cores(&succession).word(), "does not hold");
        assert_eq!(side_by_side(&succession).word(), "does not hold");
        assert_eq!(side_by_side(&turns).word(), "holds");
        let alone = Measured { tasks: 1, ..measured(1.9, 1, 2) };
        for judge in
            [side_by_side, no_faster_for_a_lock, as_fast_as_the_cores, no_faster_on_one_thread]
        {
            assert_eq!(judge(&alone).word(), "not measurable here");
        }
        assert_eq!(no_faster_for_a_lock(&turns).word(), "holds");
        let busy = measured(1.0, 6, 2);
        assert_eq!(no_faster_for_a_lock(&busy).word(), "not measurable here");
    }

    #[test]
    fn concurrency_is_judged_by_pages_and_cores() {
        for (most_open, at_once, at_work, word) in [
            (Some(20), 20, 1.9, "holds"),
            (Some(2), 20, 1.9, "does not hold"),
            (Some(20), 20, 20.0, "does not hold"),
            (Some(2), 2, 1.9, "not measurable here"),
            (None, 20, 1.9, "not measurable here"),
        ] {
            let io = io_bound::tests::measured(most_open, at_once, 1);
            let verdict = more_under_way_than_cores(&io, &measured(at_work, 6, 2));
            assert_eq!(verdict.word(), word, "{most_open:?} {at_once} {at_work}");
        }
    }

    #[test]
    fn sums_are_judged_by_what_one_by_one_took() {
        for (in_turn, in_turn_s, word) in [
            (Some((0.21, 0.2)), 2.0, "holds"),
            (Some((0.19, 0.2)), 2.0, "does not hold"),
            (Some((0.21, 0.2)), 1.0, "does not hold"),
            (None, 2.0, "not measurable here"),
        ] {
            let io = io_bound::Measured { in_turn, ..io_bound::tests::measured(Some(20), 20, 1) };
            let cpu = Measured { in_turn_s, ..measured(1.0, 1, 2) };
            assert_eq!(baselines_are_sums(&io, &cpu).word(), word, "{in_turn:?} {in_turn_s}");
        }
    }
}
