//! ordering: in which order tasks do their steps, run after run. Slides 6, 16, 22.

use anstyle::{AnsiColor, Style};
use serde_json::json;

use crate::error::Error;
use crate::machine::preemptions;
use crate::measure::context::Context;
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::units::plural;
use crate::workload::ordering::{STEPS, Steps, letter};

const TASKS: usize = 3;

/// The letters of a log, without the numbers of the steps.
fn letters(log: &str) -> String {
    log.chars().filter(char::is_ascii_uppercase).collect()
}

/// The steps of one task, in the order of the log, such as `1 2 3`.
fn own(log: &str, task: usize) -> String {
    let steps = log.split_inclusive(|c: char| c.is_ascii_digit());
    let own = steps.filter_map(|step| step.strip_prefix(letter(task)));
    own.collect::<Vec<_>>().join(" ")
}

/// How often the tasks are run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run the tasks N times
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub runs: u64,
}

impl Args {
    /// What is run, in a few words.
    pub fn title(&self) -> String {
        format!("{TASKS} tasks of {STEPS} steps each, {}", plural(self.runs as usize, "run"))
    }
}

/// What the runs showed.
pub struct Measured {
    /// The letters of every run.
    pub orders: Vec<String>,
    /// Involuntary context switches of this program (`man 2 getrusage`, `ru_nivcsw`).
    pub preempted: u64,
}

impl Measured {
    fn different(&self) -> usize {
        let mut orders: Vec<&String> = self.orders.iter().collect();
        orders.sort_unstable();
        orders.dedup();
        orders.len()
    }
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// None so far: the work needs no partner.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let runs = args.runs;
    let mut section = Section::default();
    let mut walls = Times::default();
    let mut orders = Vec::new();
    let before = preemptions();
    for _ in 0..context.repeat as u64 * runs {
        let tasks = (0..TASKS).map(Steps::new).collect();
        let log = section.watch(|| walls.time(|| (context.style.ordering)(tasks)));
        let line = |task| format!("task {}: steps {}", letter(task), own(&log, task));
        section.answers((0..TASKS).map(line).collect());
        if log.len() != 2 * TASKS * STEPS {
            section.wrong =
                Some(format!("{TASKS} times {STEPS} steps make another log than {log}"));
        }
        orders.push(letters(&log));
    }
    let wanted = (1..=STEPS).map(|step| step.to_string()).collect::<Vec<_>>().join(" ");
    if let Some(odd) = section.answer.iter().find(|line| !line.ends_with(&wanted)) {
        section.wrong = Some(format!("not in its own order: {odd}"));
    }
    let measured = Measured { orders, preempted: preemptions() - before };
    section.wall_s = Some(walls.median());
    describe(&mut section, &measured);
    section.expect("every task does its own steps in order", in_own_order(&section, &measured));
    Ok((section, measured))
}

fn describe(section: &mut Section, m: &Measured) {
    let first = &m.orders[0];
    // If an order differs from the first one, that one is shown.
    let other = m.orders.iter().position(|order| order != first);
    let second = other.or((m.orders.len() > 1).then_some(1));
    section.shown.push(format!("  run {:<4} {}", 1, colored(first)));
    if let Some(run) = second {
        let order = &m.orders[run];
        section.shown.push(format!("  run {:<4} {}", run + 1, colored(order)));
        let pairs = first.chars().zip(order.chars());
        let marks: String = pairs.map(|(a, b)| if a == b { "  " } else { "≠ " }).collect();
        if other.is_some() {
            section.shown.push(format!("           {marks}").trim_end().to_string());
        }
    }
    section.shown.push(format!("  {}", in_words(m)));
    section.shown.push(format!("  {}", preempted_in_words(m)));
    section.picture = json!({"kind": "orders", "orders": m.orders});
    section.measure("orders", json!(m.orders));
    section.measure("different_orders", json!(m.different()));
    section.measure("preempted", json!(m.preempted));
}

/// The letters with a space between them, each task's in its own color.
fn colored(order: &str) -> String {
    let colors = [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Magenta];
    let letters = order.chars().map(|letter| {
        let color = colors[letter as usize % colors.len()];
        let style = Style::new().fg_color(Some(color.into())).bold();
        format!("{style}{letter}{style:#}")
    });
    letters.collect::<Vec<_>>().join(" ")
}

fn in_words(m: &Measured) -> String {
    match (m.different(), m.orders.len()) {
        (_, 1) => "one run alone shows no difference".into(),
        (1, runs) => format!("the same order in all {runs} runs"),
        (different, runs) => format!("{different} different orders in {runs} runs"),
    }
}

fn preempted_in_words(m: &Measured) -> String {
    match m.preempted {
        1 => "1 involuntary context switch".into(),
        times => format!("{times} involuntary context switches"),
    }
}

fn in_own_order(section: &Section, m: &Measured) -> Verdict {
    match &section.wrong {
        None => Verdict::Holds(format!("in {}", plural(m.orders.len(), "run"))),
        Some(why) => Verdict::Fails(why.clone()),
    }
}

/// T2, P2: preempted without being asked.
pub fn preempted(m: &Measured) -> Verdict {
    let mixed = m.orders.iter().filter(|order| is_mixed(order)).count();
    let said = format!(
        "no task ever yields; steps of several tasks are mixed in {mixed} of {}, {} (getrusage)",
        plural(m.orders.len(), "run"),
        preempted_in_words(m)
    );
    match (mixed, m.preempted) {
        (0, _) => Verdict::Fails(said),
        (_, 0) => Verdict::NotMeasurable("there was a core for every task (try --cores 1)".into()),
        _ => Verdict::Holds(said),
    }
}

/// Whether a task did a step between two steps of another task.
fn is_mixed(order: &str) -> bool {
    let letters: Vec<char> = order.chars().collect();
    letters.chunk_by(|a, b| a == b).count() > TASKS
}

/// T3, P3: the order differs between runs.
pub fn order_differs(m: &Measured) -> Verdict {
    match (m.different(), m.orders.len()) {
        (1, runs) if runs < 10 => Verdict::NotMeasurable(format!("{runs} runs are too few")),
        (1, _) => Verdict::Fails(in_words(m)),
        _ => Verdict::Holds(in_words(m)),
    }
}

/// K1: the same order on every run.
pub fn order_is_the_same(m: &Measured) -> Verdict {
    match (m.different(), m.orders.len()) {
        (_, 1) => Verdict::NotMeasurable(in_words(m)),
        (1, _) => Verdict::Holds(format!("{}, with {}", in_words(m), preempted_in_words(m))),
        _ => Verdict::Fails(in_words(m)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_taken_apart() {
        let log = "B1B2B3B4B5B6B7B8";
        assert_eq!(letters(log), "BBBBBBBB");
        assert_eq!((own(log, 1).as_str(), own(log, 0).as_str()), ("1 2 3 4 5 6 7 8", ""));
    }

    #[test]
    fn a_task_out_of_its_own_order_shows() {
        assert_eq!(own("A1B1A3A2", 0), "1 3 2");
    }

    fn measured(orders: &[&str], preempted: u64) -> Measured {
        Measured { orders: orders.iter().map(ToString::to_string).collect(), preempted }
    }

    #[test]
    fn verdicts_follow_the_orders() {
        let same = measured(&["ABC"; 10], 0);
        assert_eq!(order_differs(&same).word(), "does not hold");
        assert_eq!(order_is_the_same(&same).word(), "holds");
        assert_eq!(preempted(&same).word(), "does not hold");
        let mixed = |times| measured(&["ABCABC"], times);
        assert_eq!(preempted(&mixed(0)).word(), "not measurable here");
        assert_eq!(preempted(&mixed(1)).word(), "holds");
        let one = measured(&["ABC"], 1);
        assert_eq!(order_differs(&one).word(), "not measurable here");
        assert_eq!(order_is_the_same(&one).word(), "not measurable here");
        let other = measured(&["ABC", "ACB", "ABC"], 2);
        assert_eq!(order_differs(&other).word(), "holds");
        assert_eq!(order_is_the_same(&other).word(), "does not hold");
        let wrong = Section { wrong: Some("not in its own order".into()), ..Section::default() };
        assert_eq!(in_own_order(&Section::default(), &other).word(), "holds");
        assert_eq!(in_own_order(&wrong, &other).word(), "does not hold");
    }

    #[test]
    fn two_runs_stand_above_each_other_and_their_differences_below() {
        let mut section = Section::default();
        describe(&mut section, &measured(&["AABB", "AABB", "ABAB"], 0));
        let plain = anstream::adapter::strip_str(&section.shown.join("\n")).to_string();
        let rows: Vec<&str> = plain.lines().collect();
        assert_eq!(rows[0], "  run 1    A A B B");
        assert_eq!(rows[1], "  run 3    A B A B");
        assert_eq!(rows[2], "             ≠ ≠");
    }
}
