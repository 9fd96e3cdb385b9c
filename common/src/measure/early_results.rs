//! early-results: take each page as it arrives, then cancel the rest. Slide 27.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::Error;
use crate::measure::context::Context;
use crate::measure::io_bound::sites_page;
use crate::partner::site::control::Stats;
use crate::partner::site::handle::Site;
use crate::report::bars::{Bar, bars};
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::timeline::{Step, ladder};
use crate::report::verdict::Verdict;
use crate::span::now;
use crate::style::Style;
use crate::units::{duration, plural, time};
use crate::workload::early_results::Arrivals;
use crate::workload::io_bound::{Job, Outcome, Page};

/// How many pages, after what delay, and how many are enough.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many pages there are
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub pages: u64,
    /// How long the site takes at least
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = duration)]
    pub latency: Duration,
    /// Stop after N pages
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub take: u64,
}

impl Args {
    /// # Errors
    ///
    /// More pages at once than the style can hold.
    pub fn check(&self, style: &Style) -> Result<(), Error> {
        style.holds(self.pages, "pages")
    }

    /// What arrives when, in a few words.
    pub fn title(&self) -> String {
        let farthest = self.latency * self.pages as u32;
        format!(
            "{}, answered after {} to {}",
            plural(self.pages as usize, "page"),
            time(self.latency),
            time(farthest)
        )
    }

    /// The pages, with short and long delays mixed, so that they do not arrive in the order in
    /// which they are requested.
    fn jobs(&self, context: &mut Context) -> Result<Vec<Job>, Error> {
        let address = context.site()?.address();
        let place = |n: u64| {
            let path = format!("/page/{n}");
            let delay = self.latency.as_millis() as u64 * rank(n, self.pages);
            let url = format!("http://{address}{path}?delay={delay}");
            Job { task: n as usize, url, addresses: vec![address], page: path, timeout: TIMEOUT }
        };
        Ok((0..self.pages).map(place).collect())
    }
}

/// The timeout of a page that is not cancelled.
const TIMEOUT: Duration = Duration::from_mins(10);

/// How long after the stop the site is asked which requests are still open.
const AFTERWARDS: Duration = Duration::from_millis(100);

/// How long the site may need to notice it on a busy machine.
const NOTICED: Duration = Duration::from_secs(2);

/// The rank of page `n` of `pages` by delay, from 1: a fixed shuffle.
fn rank(n: u64, pages: u64) -> u64 {
    let divides = |a: u64, b: u64| (2..=a).any(|d| a.is_multiple_of(d) && b.is_multiple_of(d));
    let step = (pages * 5 / 8..pages).find(|&step| step > 0 && !divides(step, pages)).unwrap_or(1);
    (n * step + pages / 3) % pages + 1
}

/// What one or several runs showed.
pub struct Measured {
    pub pages: usize,
    pub take: usize,
    /// Seconds until the first page of the complete run was taken, and until the last one was.
    pub first: Times,
    pub last: Times,
    /// The first page was taken before the last one had arrived.
    pub before_the_last: bool,
    /// In the short run, the pages whose answer the site had not sent when the consumer stopped,
    /// including those never requested. The fewest of all runs.
    pub spared: usize,
    /// Requests open at the site some time after the stop. The most of all runs.
    pub left_open: usize,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// The site cannot be started or asked.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let jobs = args.jobs(context)?;
    let take = args.take.min(args.pages) as usize;
    let run = context.style.early_results;
    let mut section = Section::default();
    let (mut first, mut last, mut stopped) = (Times::default(), Times::default(), Times::default());
    let (mut spared, mut left_open) = (usize::MAX, 0);
    let mut before_the_last = true;
    let mut ladders = Vec::new();
    for _ in 0..context.repeat {
        let mut all = Arrivals::default();
        let begin = now();
        section.watch(|| run(jobs.clone(), &mut all));
        let since = |at: Option<&u64>| at.map_or(0.0, |at| at.saturating_sub(begin) as f64 / 1e6);
        first.seconds.push(since(all.taken_us.first()));
        last.seconds.push(since(all.taken_us.last()));
        let came_us = all.outcomes.iter().flat_map(|o| &o.spans).map(|s| s.to_us).max();
        before_the_last &= all.taken_us.first() < came_us.as_ref();
        ladders = steps(&all);

        context.site()?.reset()?;
        let mut few = Arrivals::take(take);
        stopped.time(|| run(jobs.clone(), &mut few));
        let (at_once, left) = afterwards(context.site()?)?;
        spared = spared.min(jobs.len().saturating_sub(at_once.served));
        left_open = left_open.max(left);

        let mut lines = answer(&all);
        lines.push(format!("stopped after {take}: {}", plural(few.outcomes.len(), "page")));
        section.answers(lines);
        if let Some(wrong) =
            wrong(&jobs, &all.outcomes, jobs.len()).or_else(|| wrong(&jobs, &few.outcomes, take))
        {
            section.wrong = Some(wrong);
        }
        section.spans = all.outcomes.into_iter().flat_map(|o| o.spans).collect();
    }
    if left_open > 0 {
        section.wrong =
            Some(format!("{left_open} pages were still open at the site after the stop"));
    }
    let measured =
        Measured { pages: jobs.len(), take, first, last, before_the_last, spared, left_open };
    describe(context, &mut section, &measured, &stopped, &ladders);
    section.expect("nothing stays open after the stop", nothing_stays_open(&measured));
    Ok((section, measured))
}

/// What the site had counted at the stop, and how many requests were left open there.
///
/// On a busy machine the site may notice late that a client has disconnected. A request that it
/// still answers was not cancelled.
fn afterwards(site: &mut Site) -> io::Result<(Stats, usize)> {
    let at_once = site.stats()?;
    thread::sleep(AFTERWARDS);
    let soon = site.stats()?;
    let mut later = soon;
    let deadline = Instant::now() + NOTICED;
    while later.open > 0 && Instant::now() < deadline {
        thread::sleep(AFTERWARDS / 10);
        later = site.stats()?;
    }
    Ok((at_once, later.open + later.served - soon.served))
}

fn answer(all: &Arrivals) -> Vec<String> {
    let width = all.outcomes.iter().map(|o| o.page.chars().count()).max().unwrap_or(0);
    let mut sorted: Vec<&Outcome> = all.outcomes.iter().collect();
    sorted.sort_by_key(|outcome| outcome.task);
    sorted.iter().map(|outcome| outcome.line(width)).collect()
}

/// One row per page, in the order in which they were taken.
fn steps(all: &Arrivals) -> Vec<Step> {
    let pairs = all.outcomes.iter().zip(&all.taken_us);
    let step = |(outcome, &taken_us): (&Outcome, &u64)| Step {
        name: outcome.page.clone(),
        from_us: outcome.spans.first().map_or(taken_us, |s| s.from_us),
        to_us: taken_us,
        sign: '●',
    };
    pairs.map(step).collect()
}

fn wrong(jobs: &[Job], outcomes: &[Outcome], many: usize) -> Option<String> {
    let mut tasks: Vec<usize> = outcomes.iter().map(|o| o.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    if outcomes.len() != many || tasks.len() != many {
        return Some(format!(
            "{} pages taken, {} different; not {many}",
            outcomes.len(),
            tasks.len()
        ));
    }
    let expected = |task: usize| -> Page { sites_page(jobs[task].task as u64) };
    let odd = outcomes.iter().find(|o| o.result != Ok(expected(o.task)));
    odd.map(|outcome| format!("not as expected: {}", outcome.line(0)))
}

fn describe(
    context: &Context,
    section: &mut Section,
    m: &Measured,
    stopped: &Times,
    ladder_steps: &[Step],
) {
    let (first, last) = (m.first.median(), m.last.median());
    section.wall_s = Some(last);
    let times = format!("{:.1} × as long", last / first.max(1e-6));
    let stop = format!("taking {}", m.take);
    section.shown = bars(&[
        Bar::new("the first", first, &m.first.note(&context.machine)),
        Bar::new("the last", last, &times),
        Bar::new(&stop, stopped.median(), "the rest cancelled"),
    ]);
    section.picture = json!({"kind": "ladder", "steps": ladder_steps, "mark_us": null});
    section.shown.extend(ladder(ladder_steps, None));
    section.shown.push(format!(
        "  after {} of {} the consumer stops: {} unanswered, {} still open 0.1 s later",
        m.take, m.pages, m.spared, m.left_open
    ));
    section.measure("first_s", json!(m.first.seconds));
    section.measure("last_s", json!(m.last.seconds));
    section.measure("stopped_s", json!(stopped.seconds));
    section.measure("order", json!(ladder_steps.iter().map(|s| &s.name).collect::<Vec<_>>()));
    section.measure("unanswered", json!(m.spared));
    section.measure("left_open", json!(m.left_open));
}

fn nothing_stays_open(m: &Measured) -> Verdict {
    let said = format!(
        "{} of {} pages were not answered at the stop, {} still open 0.1 s later",
        m.spared, m.pages, m.left_open
    );
    match (m.left_open, m.spared) {
        (0, 0) => Verdict::NotMeasurable("every page was answered before the stop".into()),
        (0, _) => Verdict::Holds(said),
        _ => Verdict::Fails(said),
    }
}

/// K7: the first result comes long before the last.
///
/// Decided by which pages had not arrived when the consumer had its first ones, not by a duration.
pub fn long_before_the_last(m: &Measured) -> Verdict {
    if m.pages < 2 || m.take >= m.pages {
        return Verdict::NotMeasurable("needs more pages than are taken (--pages, --take)".into());
    }
    let (first, last) = (m.first.median(), m.last.median());
    match (m.before_the_last, m.spared) {
        (true, 1..) => Verdict::Holds(format!(
            "the first of {} after {first:.3} s, the last after {last:.3} s; when the consumer had \
             {}, {} had not been answered",
            m.pages, m.take, m.spared
        )),
        (false, 0) => {
            Verdict::Fails("all pages were there before the first was handed over".into())
        }
        _ => Verdict::NotMeasurable("this machine was too busy to tell".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far_pages_are_mixed_and_all_different() {
        for pages in 1..60 {
            let mut ranks: Vec<u64> = (0..pages).map(|n| rank(n, pages)).collect();
            let rising = ranks.is_sorted();
            ranks.sort_unstable();
            assert_eq!(ranks, (1..=pages).collect::<Vec<_>>());
            assert!(pages < 3 || !rising, "{pages}");
        }
    }

    #[test]
    fn verdicts_follow_the_figures() {
        let (yes, no, unknown) = ("holds", "does not hold", "not measurable here");
        // Pages, taken, before the last, spared, left open: early, and nothing stays open.
        for (pages, take, before_the_last, spared, left_open, early, cancelled) in [
            (12, 5, true, 7, 0, yes, yes),
            (12, 5, false, 7, 0, unknown, yes),
            (12, 5, true, 0, 0, unknown, unknown),
            (12, 5, false, 0, 0, no, unknown),
            (12, 5, true, 7, 1, yes, no),
            (12, 5, true, 0, 1, unknown, no),
            (12, 12, true, 7, 0, unknown, yes),
            (1, 0, true, 1, 0, unknown, yes),
        ] {
            let (first, last) = (Times { seconds: vec![0.1] }, Times { seconds: vec![1.0] });
            let m = Measured { pages, take, first, last, before_the_last, spared, left_open };
            let words = (long_before_the_last(&m).word(), nothing_stays_open(&m).word());
            let figures = (pages, take, before_the_last, spared, left_open);
            assert_eq!(words, (early, cancelled), "{figures:?}");
        }
    }
}
