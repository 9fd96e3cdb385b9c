//! interactivity: a heart beats while another task computes. Slides 15, 28, 33.

use serde_json::json;

use crate::error::Error;
use crate::measure::context::Context;
use crate::report::color::red;
use crate::report::screen;
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::span::Span;
use crate::units::plural;
use crate::workload::cpu_bound::{Count, Counted};
use crate::workload::interactivity::{Beats, Heart, INTERVAL};

/// A beat is late if it comes this much after its time, in microseconds.
const LATE: u64 = INTERVAL / 2;

/// Fewer beats than these during a count show nothing.
const ENOUGH: usize = 3;

/// How the heart beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Beats that were due while the count went on.
    pub due: usize,
    /// Beats that came while it did.
    pub came: usize,
    /// Beats late, of all.
    pub late: usize,
    /// From one beat to the next at most, in microseconds.
    pub longest_gap: u64,
    /// How long the count took, in microseconds.
    pub count: u64,
    /// Whether the count and the heart ran on different threads, of the same or of two processes.
    pub apart: bool,
}

impl Beats {
    /// The spans of both.
    fn spans(&self) -> Vec<Span> {
        [&self.spans[..], &self.counted.spans].concat()
    }

    fn times(&self) -> impl Iterator<Item = u64> {
        self.spans.iter().map(|s| s.from_us)
    }

    fn first(&self) -> u64 {
        self.times().next().unwrap_or(0)
    }

    /// When the count began and ended.
    fn count(&self) -> (u64, u64) {
        let spans = &self.counted.spans;
        let from = spans.iter().map(|s| s.from_us).min().unwrap_or(0);
        (from, spans.iter().map(|s| s.to_us).max().unwrap_or(from))
    }

    fn due(&self) -> impl Iterator<Item = u64> {
        let first = self.first();
        (0..self.spans.len()).map(move |n| first + n as u64 * INTERVAL)
    }

    fn pulse(&self) -> Pulse {
        let (from, to) = self.count();
        let during = |time: &u64| from < *time && *time < to;
        let pairs = self.times().zip(self.times().skip(1));
        let place = |s: &Span| (s.pid, s.thread);
        Pulse {
            due: self.due().filter(during).count(),
            came: self.times().filter(during).count(),
            late: self.times().zip(self.due()).filter(|(is, due)| *is > due + LATE).count(),
            longest_gap: pairs.map(|(one, next)| next - one).max().unwrap_or(0),
            count: to - from,
            apart: self.spans.first().map(place) != self.counted.spans.first().map(place),
        }
    }

    fn end(&self) -> u64 {
        self.times().chain([self.count().1]).max().unwrap_or(0)
    }
}

/// How long the heart beats, and what is counted meanwhile.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How often the heart beats
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub beats: u64,
    /// Count the primes below N meanwhile
    #[arg(long, value_name = "N", default_value_t = 700_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub below: u64,
}

impl Args {
    /// What is done, in a few words.
    pub fn title(&self) -> String {
        let every = INTERVAL / 1000;
        format!("{}, one every {every} ms, and a count", plural(self.beats as usize, "beat"))
    }
}

/// What one or several runs showed; of several, the last.
pub struct Measured {
    pub careless: Pulse,
    pub careful: Pulse,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// None so far: the work needs no partner.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let style = context.style;
    let mut section = Section::default();
    let mut walls = Times::default();
    let mut both = None;
    for _ in 0..context.repeat {
        let parts = || (Count::new(1, args.below), Heart::new(args.beats as usize));
        let run = |way: fn(Count, Heart) -> Beats| {
            let (count, heart) = parts();
            way(count, heart)
        };
        let careless = run(style.interactivity_careless);
        let careful = section.watch(|| walls.time(|| run(style.interactivity_careful)));
        for beats in [&careless, &careful] {
            section.answers(answer(beats));
            if beats.spans.len() != args.beats as usize {
                section.wrong = Some(format!("{} beats, not {}", beats.spans.len(), args.beats));
            }
        }
        both = Some((careless, careful));
    }
    let (careless, careful) = both.expect("everything is run at least once");
    let measured = Measured { careless: careless.pulse(), careful: careful.pulse() };
    section.wall_s = Some(walls.median());
    section.spans = [careless.spans(), careful.spans()].concat();
    describe(&mut section, [&careless, &careful], &measured);
    section.expect("the heart beats while careful counts", beats_on(&measured.careful));
    Ok((section, measured))
}

fn answer(beats: &Beats) -> Vec<String> {
    let Counted { primes, below, .. } = beats.counted;
    vec![format!("{primes} primes below {below}, {}", plural(beats.spans.len(), "beat"))]
}

fn describe(section: &mut Section, [careless, careful]: [&Beats; 2], m: &Measured) {
    let length = |beats: &Beats| beats.end() - beats.first();
    let scale = match length(careless).max(length(careful)) / (screen::columns() as u64 - 14) {
        fine if fine < INTERVAL / 2 => INTERVAL / 2,
        coarse => coarse.next_multiple_of(INTERVAL),
    };
    for (name, beats, pulse) in
        [("careless", careless, m.careless), ("careful", careful, m.careful)]
    {
        section.shown.extend(strips(name, beats, scale));
        section.shown.push(format!("{:12}{}", "", in_words(&pulse)));
        section.measure(
            name,
            json!({"beats_due": pulse.due, "beats_came": pulse.came, "beats_late": pulse.late,
                "longest_gap_us": pulse.longest_gap, "count_us": pulse.count,
                "threads_apart": pulse.apart}),
        );
    }
    let strip = |beats: &Beats| {
        let (from, to) = beats.count();
        json!({"beats_us": beats.times().collect::<Vec<_>>(), "count_us": [from, to]})
    };
    section.picture =
        json!({"kind": "strips", "careless": strip(careless), "careful": strip(careful)});
    section.shown.push("  ♥ a beat  · a beat that did not come in time  █ counting".into());
}

/// The heart above the count, a column for every `scale` microseconds.
fn strips(name: &str, beats: &Beats, scale: u64) -> [String; 2] {
    let first = beats.first();
    let column = |time: u64| (time.saturating_sub(first) / scale) as usize;
    let mut heart = vec![' '; column(beats.end()) + 1];
    let mut count = heart.clone();
    for (is, due) in beats.times().zip(beats.due()) {
        if is > due + LATE {
            heart[column(due)] = '·';
        }
    }
    beats.times().for_each(|time| heart[column(time)] = '♥');
    let (from, to) = beats.count();
    count[column(from)..=column(to)].fill('█');
    let row = |name: &str, strip: Vec<char>| {
        let strip: String = strip.into_iter().collect();
        let row = format!("  {name:<10}{strip}");
        row.trim_end().replace('♥', &red("♥"))
    };
    [row(name, heart), row("", count)]
}

fn in_words(pulse: &Pulse) -> String {
    let Pulse { due, came, late, longest_gap, count, .. } = pulse;
    format!(
        "in {} ms of counting {came} of {due} beats, {late} late; longest gap {} ms",
        count / 1000,
        longest_gap / 1000
    )
}

/// Too few beats to decide anything.
fn too_short(pulse: &Pulse) -> Option<Verdict> {
    let why = format!("only {} beats were due during the count", pulse.due);
    (pulse.due < ENOUGH).then_some(Verdict::NotMeasurable(why))
}

/// Whether the heart went on beating. A busy machine delays beats, but does not stop a heart.
fn beats_on(pulse: &Pulse) -> Verdict {
    let said = format!("{} of {} beats came while the other counted", pulse.came, pulse.due);
    match too_short(pulse) {
        Some(verdict) => verdict,
        None if pulse.came == 0 => Verdict::Fails(said),
        None if pulse.came * 2 >= pulse.due => Verdict::Holds(said),
        None => Verdict::NotMeasurable(format!("{said}: a busy machine")),
    }
}

/// Whether the heart stopped.
fn stands_still(pulse: &Pulse) -> Verdict {
    let Pulse { due, count, .. } = pulse;
    let count = count / 1000;
    match (too_short(pulse), pulse.came) {
        (Some(verdict), _) => verdict,
        (None, 0) => Verdict::Holds(format!(
            "careless: no beat in {count} ms of counting, where {due} were due"
        )),
        (None, came) => Verdict::Fails(format!("careless: {came} beats of {due} came")),
    }
}

/// Whether the heart went on beating because the count ran in another thread.
fn beats_on_apart(pulse: &Pulse) -> Verdict {
    match beats_on(pulse) {
        Verdict::Holds(_) if !pulse.apart => {
            Verdict::Fails("the count ran in the heart's own thread".into())
        }
        Verdict::Holds(said) => Verdict::Holds(format!("{said}, in another thread")),
        other => other,
    }
}

/// T10: others stay responsive while a thread computes, whether it yields or not.
pub fn others_go_on(m: &Measured) -> Verdict {
    beats_on_apart(&m.careless)
}

/// K2: nothing runs until the running one yields.
pub fn nothing_runs_until_one_yields(m: &Measured) -> Verdict {
    stands_still(&m.careless)
}

/// A1: one blocking call stalls all others.
pub fn one_stalls_everybody(m: &Measured) -> Verdict {
    stands_still(&m.careless)
}

/// W4: what blocks is deferred to a thread.
pub fn deferred_to_a_thread(m: &Measured) -> Verdict {
    beats_on_apart(&m.careful)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Kind;

    fn span(from_ms: u64, to_ms: u64, thread: i32) -> Span {
        let (from_us, to_us) = (from_ms * 1000, to_ms * 1000);
        Span {
            task: 0,
            kind: Kind::Running,
            from_us,
            to_us,
            pid: 1,
            thread,
            file: None,
            line: None,
        }
    }

    fn beats(times_ms: &[u64], count_ms: (u64, u64), thread: i32) -> Beats {
        let spans = times_ms.iter().map(|&ms| span(ms, ms, 1)).collect();
        let count = vec![span(count_ms.0, count_ms.1, thread)];
        let counted = Counted { task: 1, below: 10, primes: 4, spans: count };
        Beats { spans, counted }
    }

    #[test]
    fn a_frozen_heart_is_seen_and_drawn() {
        let frozen = beats(&[0, 41, 41, 41, 42, 50], (1, 41), 1);
        let pulse = frozen.pulse();
        assert_eq!((pulse.due, pulse.came, pulse.late), (4, 0, 3), "{pulse:?}");
        assert_eq!((pulse.longest_gap, pulse.count), (41_000, 40_000));
        let [heart, count] = strips("careless", &frozen, INTERVAL / 2);
        let heart = anstream::adapter::strip_str(&heart).to_string();
        assert_eq!(heart, "  careless  ♥ · · · ♥ ♥");
        assert_eq!(count, "            █████████");
    }

    #[test]
    fn a_heart_that_goes_on_is_seen() {
        let pulse = beats(&[0, 10, 20, 30, 40, 50], (1, 41), 2).pulse();
        assert_eq!((pulse.due, pulse.came, pulse.late), (4, 4, 0), "{pulse:?}");
        assert!(pulse.apart);
        assert!(!beats(&[0, 10, 20], (1, 41), 1).pulse().apart);
    }

    type Judge = fn(&Measured) -> Verdict;

    #[test]
    fn verdicts_follow_the_figures() {
        let (yes, no, unknown) = ("holds", "does not hold", "not measurable here");
        let expectation: Judge = |m| beats_on(&m.careful);
        let beat_on: [Judge; 2] = [others_go_on, deferred_to_a_thread];
        let stand_still: [Judge; 2] = [nothing_runs_until_one_yields, one_stalls_everybody];
        // Beats due and come, threads apart: it beats on, in another thread; it stands still.
        for (due, came, apart, beats, elsewhere, stops) in [
            (9, 9, true, yes, yes, no),
            (9, 9, false, yes, no, no),
            (9, 2, true, unknown, unknown, no),
            (9, 0, true, no, no, yes),
            (9, 0, false, no, no, yes),
            (2, 2, true, unknown, unknown, unknown),
            (2, 0, false, unknown, unknown, unknown),
        ] {
            let pulse = Pulse { due, came, apart, ..Pulse::default() };
            let m = Measured { careless: pulse, careful: pulse };
            assert_eq!(expectation(&m).word(), beats, "{pulse:?}");
            assert_eq!(beat_on.map(|judge| judge(&m).word()), [elsewhere; 2], "{pulse:?}");
            assert_eq!(stand_still.map(|judge| judge(&m).word()), [stops; 2], "{pulse:?}");
        }
    }

    #[test]
    fn each_claim_looks_at_its_own_version() {
        let beats = Pulse { due: 9, came: 9, apart: true, ..Pulse::default() };
        let stands = Pulse { due: 9, came: 0, ..Pulse::default() };
        let m = Measured { careless: stands, careful: beats };
        let all: [Judge; 3] =
            [nothing_runs_until_one_yields, one_stalls_everybody, deferred_to_a_thread];
        assert_eq!(all.map(|judge| judge(&m).word()), ["holds"; 3]);
        assert_eq!(others_go_on(&m).word(), "does not hold");
    }
}
