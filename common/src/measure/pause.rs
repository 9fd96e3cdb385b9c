//! pause: one side produces; the other pauses it, resumes it, stops it. Slide 27.

use std::time::Duration;

use serde_json::json;

use crate::error::Error;
use crate::measure::context::Context;
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::units::{duration, time};
use crate::workload::pause::{Counter, Paused};

/// How long the producer is paused.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long the counter is kept paused
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = duration)]
    pub hold: Duration,
}

impl Args {
    /// What is done, in a few words.
    pub fn title(&self) -> String {
        format!("count to {}, paused for {} halfway", 2 * Counter::HALF, time(self.hold))
    }
}

/// What one or several runs showed.
pub struct Measured {
    /// The last run, or the first that was not as expected.
    pub paused: Paused,
    pub walls: Times,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// None so far: the work needs no partner.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let mut section = Section::default();
    let mut walls = Times::default();
    let mut paused = Paused::expected();
    for _ in 0..context.repeat {
        let counter = Counter::new(args.hold);
        let seen = section.watch(|| walls.time(|| (context.style.pause)(counter)));
        section.answers(vec![line(&seen)]);
        if paused == Paused::expected() {
            paused = seen;
        }
    }
    if paused != Paused::expected() {
        section.wrong = Some(format!("not as expected: {paused:?}"));
    }
    let measured = Measured { paused, walls };
    describe(args, &mut section, &measured);
    section.expect("nothing is produced meanwhile", nothing_meanwhile(&measured));
    Ok((section, measured))
}

fn line(paused: &Paused) -> String {
    let during = made_meanwhile(paused);
    format!("{} | paused: {during} | {}", join(&paused.before), join(&paused.after))
}

fn made_meanwhile(paused: &Paused) -> u32 {
    paused.at_resume.wrapping_sub(paused.at_confirm)
}

fn join(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(" ")
}

fn describe(args: &Args, section: &mut Section, m: &Measured) {
    section.wall_s = Some(m.walls.median());
    section.shown.push(format!(
        "  {} ▌▌ paused {}, and confirmed: {} made ▶ {} ■ stopped",
        join(&m.paused.before),
        time(args.hold),
        made_meanwhile(&m.paused),
        join(&m.paused.after),
    ));
    let Paused { before, at_confirm, at_resume, after, at_end } = &m.paused;
    section.picture = json!({"kind": "pause", "before": before, "at_confirm": at_confirm,
        "at_resume": at_resume, "after": after, "at_end": at_end});
    section.measure("runs", json!(m.walls.seconds));
    section.measure("made_while_paused", json!(made_meanwhile(&m.paused)));
}

fn nothing_meanwhile(m: &Measured) -> Verdict {
    let Paused { before, at_confirm, at_resume, .. } = &m.paused;
    let taken = before.len() as u32;
    let said = format!(
        "{taken} taken before the pause, {at_confirm} produced when it was confirmed, {at_resume} \
         at resume"
    );
    let none = taken > 0 && [*at_confirm, *at_resume] == [taken; 2];
    if none { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

/// K8: the caller decides what runs next: it pauses, resumes, stops.
pub fn the_caller_decides(m: &Measured) -> Verdict {
    let Paused { at_confirm, at_resume, at_end, .. } = m.paused;
    let said = format!("paused after {at_confirm}, {at_resume} at resume, {at_end} when stopped");
    if m.paused == Paused::expected() { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_none_shows() {
        let right = Paused::expected();
        assert_eq!(line(&right), "1 2 3 | paused: 0 | 4 5 6");
        let went_on = Paused { at_resume: 4, ..right };
        assert_eq!(line(&went_on), "1 2 3 | paused: 1 | 4 5 6");
    }

    #[test]
    fn verdicts_follow_the_figures() {
        let (yes, no) = ("holds", "does not hold");
        let right = Paused::expected;
        for (paused, meanwhile, decides) in [
            (right(), yes, yes),
            (Paused { before: vec![1, 2], ..right() }, no, no),
            (Paused { before: vec![1, 2, 4], ..right() }, yes, no),
            (Paused { at_confirm: 2, ..right() }, no, no),
            (Paused { at_resume: 4, ..right() }, no, no),
            (Paused { after: vec![4, 5, 7], ..right() }, yes, no),
            (Paused { at_end: 7, ..right() }, yes, no),
            (Paused { at_confirm: 4, at_resume: 4, ..right() }, no, no),
            (Paused::default(), no, no),
        ] {
            let m = Measured { paused, walls: Times::default() };
            let words = (nothing_meanwhile(&m).word(), the_caller_decides(&m).word());
            assert_eq!(words, (meanwhile, decides), "{:?}", m.paused);
        }
    }
}
