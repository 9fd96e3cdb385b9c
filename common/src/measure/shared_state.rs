//! shared-state: tasks move money between the same accounts. Slides 15, 21.

use serde_json::{Value, json};

use crate::error::Error;
use crate::measure::context::Context;
use crate::report::bars::{Bar, bars};
use crate::report::color::red;
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::style::{Also, Style};
use crate::units::plural;
use crate::workload::shared_state::{ACCOUNTS, BALANCE, Bank, Leaves, TASKS, Totals};

/// How much is transferred.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many transfers each task makes
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub transfers: u64,
    /// Run another of the style's functions
    #[arg(long, value_name = "NAME")]
    pub way: Option<String>,
}

/// A second function, by its name.
type Second = (&'static str, fn(&Bank) -> Totals, Leaves);

fn second(also: &Also) -> Option<Second> {
    match *also {
        Also::SharedState(name, run, leaves) => Some((name, run, leaves)),
        _ => None,
    }
}

impl Args {
    /// # Errors
    ///
    /// The style has no function of the name given.
    pub fn check(&self, style: &Style) -> Result<(), Error> {
        self.also(style).map(drop)
    }

    /// The second functions to run: all, or the one that the flags select.
    fn also(&self, style: &Style) -> Result<Vec<Second>, Error> {
        let all = style.also.iter().filter_map(second);
        let Some(name) = &self.way else { return Ok(all.collect()) };
        let one = style.way(name, |also| second(also).map(|second| (second.0, second)));
        Ok(vec![one?])
    }

    /// What is done, in a few words.
    pub fn title(&self) -> String {
        format!("{TASKS} tasks, {} each", plural(self.transfers as usize, "transfer"))
    }
}

/// What one or several runs showed.
pub struct Measured {
    /// Of all tasks together.
    pub transfers: u64,
    /// Of each careless run, by how much each balance was wrong.
    pub errors: Vec<Vec<i64>>,
    pub careless: Times,
    pub careful: Times,
    /// Whether careful and the second functions left the accounts as they should.
    pub as_told: bool,
    /// Whether tasks that share nothing left the accounts unchanged; `None` if this was not tried.
    pub untouched: Option<bool>,
}

impl Measured {
    /// How many careless runs lost an update.
    fn lost(&self) -> usize {
        self.errors.iter().filter(|errors| errors.iter().any(|&error| error != 0)).count()
    }
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// None so far: the work needs no partner.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let bank = Bank::new(args.transfers);
    let expected = bank.expected();
    let also = args.also(context.style)?;
    let mut section = Section::default();
    let mut measured = Measured {
        transfers: TASKS * args.transfers,
        errors: Vec::new(),
        careless: Times::default(),
        careful: Times::default(),
        as_told: true,
        untouched: None,
    };
    let mut times: Vec<Times> = also.iter().map(|_| Times::default()).collect();
    for _ in 0..context.repeat {
        let careless = measured.careless.time(|| (context.style.shared_state_careless)(&bank));
        let errors = careless.balances.iter().zip(&expected).map(|(is, should)| is - should);
        measured.errors.push(errors.collect());
        let careful =
            section.watch(|| measured.careful.time(|| (context.style.shared_state_careful)(&bank)));
        section.answers(answer(&measured, &careful));
        measured.as_told &= careful.balances == expected;
        for ((name, run, leaves), times) in also.iter().zip(&mut times) {
            let Totals { balances } = times.time(|| run(&bank));
            let as_told = match leaves {
                Leaves::Exact => balances == expected,
                Leaves::Untouched => balances == bank.balances(),
            };
            measured.as_told &= as_told;
            if *leaves == Leaves::Untouched {
                measured.untouched = Some(as_told && measured.untouched.unwrap_or(true));
            }
            if !as_told {
                section.wrong = Some(format!("{name} left {balances:?}"));
            }
        }
        if careful.balances != expected {
            section.wrong = Some(format!("careful left {:?}", careful.balances));
        }
    }
    describe(context, &mut section, &measured, &also, &times);
    section.expect("careful loses nothing", careful_loses_nothing(&measured));
    Ok((section, measured))
}

fn answer(m: &Measured, Totals { balances }: &Totals) -> Vec<String> {
    let total: i64 = balances.iter().sum();
    let before = BALANCE * ACCOUNTS as i64;
    vec![format!("careful: {before} before, {total} after {} transfers", m.transfers)]
}

fn describe(
    context: &Context,
    section: &mut Section,
    m: &Measured,
    also: &[Second],
    times: &[Times],
) {
    let careless = m.careless.median();
    let longer = |times: &Times| format!("{:.1} × as long", times.median() / careless);
    let mut rows = vec![
        Bar::new("careless", careless, &m.careless.note(&context.machine)),
        Bar::new("careful", m.careful.median(), &longer(&m.careful)),
    ];
    for ((name, _, _), times) in also.iter().zip(times) {
        rows.push(Bar::new(name, times.median(), &longer(times)));
        section.measure(&format!("{name}_s"), json!(times.seconds));
    }
    section.wall_s = Some(m.careful.median());
    section.shown = bars(&rows);
    section.shown.push("  by how much each account is wrong afterwards:".into());
    section.shown.push(table("careless", &m.errors[m.errors.len() - 1]));
    if m.as_told {
        section.shown.push(table("careful", &[0; ACCOUNTS]));
    }
    section.shown.push(format!("  careless: {}", in_words(m)));
    section.picture = json!({"kind": "errors", "careless": m.errors[m.errors.len() - 1]});
    section.measure("careless_s", json!(m.careless.seconds));
    section.measure("careful_s", json!(m.careful.seconds));
    section.measure("careless_errors", json!(m.errors));
    section.measure("careless_lost", json!(m.lost()));
    section.measure("untouched", m.untouched.map_or(Value::Null, Value::Bool));
}

/// A row with a number for each account; 80 columns at most.
fn table(name: &str, errors: &[i64]) -> String {
    let cell = |&error: &i64| match error {
        0 => format!("{:>6}", 0),
        -9999..=9999 => red(&format!("{error:>+6}")),
        _ => red(&format!("{:>+5}k", error / 1000)),
    };
    format!("  {name:<13}{}", errors.iter().map(cell).collect::<String>())
}

/// What the last careless run has lost.
fn in_words(m: &Measured) -> String {
    let errors = &m.errors[m.errors.len() - 1];
    let wrong = errors.iter().filter(|&&error| error != 0).count();
    let total = match errors.iter().sum::<i64>() {
        0 => "although the total is right".to_string(),
        more @ 1.. => format!("{more} too much in all"),
        less => format!("{} missing in all", -less),
    };
    match (wrong, m.errors.len()) {
        (0, 1) => "nothing was lost this time".into(),
        (_, 1) => format!("{wrong} of {ACCOUNTS} balances are wrong, {total}"),
        (_, runs) => format!("updates were lost in {} of {runs} runs", m.lost()),
    }
}

fn careful_loses_nothing(m: &Measured) -> Verdict {
    if m.as_told {
        Verdict::Holds(format!("every balance is right after {} transfers", m.transfers))
    } else {
        Verdict::Fails("careful, or another function, left wrong balances".into())
    }
}

/// With so many transfers every run loses updates, on any machine, unless the code is careful.
const ENOUGH: u64 = 40_000;

/// T11: updates of shared state get lost.
pub fn updates_get_lost(m: &Measured) -> Verdict {
    if !m.as_told {
        return Verdict::Fails("careful is wrong too".into());
    }
    if m.lost() == 0 {
        let said = format!("nothing was lost in {} transfers", m.transfers);
        return match m.transfers {
            ENOUGH.. => Verdict::Fails(said),
            _ => Verdict::NotMeasurable(format!("{said}, which are few")),
        };
    }
    Verdict::Holds(format!("careless: {}; careful: none is", in_words(m)))
}

/// P8: nothing is shared by default, and what is shared loses updates.
pub fn only_what_is_shared_gets_lost(m: &Measured) -> Verdict {
    match (m.untouched, updates_get_lost(m)) {
        (Some(true), Verdict::Holds(said)) => Verdict::Holds(format!(
            "the parent's own accounts never changed; in shared memory {said}"
        )),
        (Some(true), other) => other,
        (Some(false), _) => Verdict::Fails("a child changed the parent's own accounts".into()),
        (None, _) => Verdict::NotMeasurable("tasks without shared memory were not tried".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(errors: &[&[i64]], as_told: bool, untouched: Option<bool>) -> Measured {
        let errors = errors.iter().map(|errors| errors.to_vec()).collect();
        let (careless, careful) = (Times::default(), Times::default());
        Measured { transfers: 4, errors, careless, careful, as_told, untouched }
    }

    #[test]
    fn verdicts_follow_the_balances() {
        let lost = measured(&[&[5, -5]], true, None);
        assert_eq!(updates_get_lost(&lost).word(), "holds");
        assert_eq!(only_what_is_shared_gets_lost(&lost).word(), "not measurable here");
        let nothing = measured(&[&[0, 0]], true, Some(true));
        assert_eq!(updates_get_lost(&nothing).word(), "not measurable here");
        assert_eq!(only_what_is_shared_gets_lost(&nothing).word(), "not measurable here");
        let shared = measured(&[&[5, -6]], true, Some(true));
        assert_eq!(only_what_is_shared_gets_lost(&shared).word(), "holds");
        let leaked = measured(&[&[5, -6]], true, Some(false));
        assert_eq!(only_what_is_shared_gets_lost(&leaked).word(), "does not hold");
        assert_eq!(careful_loses_nothing(&shared).word(), "holds");
        let many = Measured { transfers: ENOUGH, ..measured(&[&[0, 0]], true, None) };
        assert_eq!(updates_get_lost(&many).word(), "does not hold");
        let wrong = measured(&[&[5, -6]], false, Some(true));
        assert_eq!(careful_loses_nothing(&wrong).word(), "does not hold");
        assert_eq!(updates_get_lost(&wrong).word(), "does not hold");
        assert_eq!(careful_loses_nothing(&wrong).word(), "does not hold");
        assert_eq!(careful_loses_nothing(&lost).word(), "holds");
        let many = Measured { transfers: ENOUGH, ..nothing };
        assert_eq!(updates_get_lost(&many).word(), "does not hold");
        assert_eq!(only_what_is_shared_gets_lost(&many).word(), "does not hold");
    }

    fn plain(name: &str, errors: &[i64]) -> String {
        anstream::adapter::strip_str(&table(name, errors)).to_string()
    }

    #[test]
    fn a_row_fits_for_every_loss() {
        let row = plain("careless", &[i64::from(i32::MIN), 0, 9999, -9999, 10_000, 1, 2, 3, 4, 5]);
        assert!(row.chars().count() <= 80, "{row}");
        assert!(row.contains("     0 +9999 -9999  +10k    +1"), "{row}");
    }
}
