//! deadline: every page is there, or timed out, at one moment. Slide 27.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::Error;
use crate::machine::children;
use crate::measure::context::Context;
use crate::measure::io_bound::sites_page;
use crate::report::bars::{Bar, bars};
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::timeline::{Step, ladder};
use crate::report::verdict::Verdict;
use crate::span::now;
use crate::units::{duration, time};
use crate::workload::io_bound::{Job, Outcome};

/// When the pages are cancelled.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// When to cancel the missing pages
    #[arg(long, value_name = "TIME", default_value = "300ms", value_parser = duration)]
    pub deadline: Duration,
    /// Also fetch one that drips, and one that stops halfway
    #[arg(long)]
    pub with_failures: bool,
}

/// How many pages the site answers, and after what delay.
const PAGES: u64 = 5;

const LATENCY: Duration = Duration::from_millis(50);

/// The timeout of a page that is not cancelled.
const TIMEOUT: Duration = Duration::from_mins(10);

/// How long the kernel and the site may need to notice it on a busy machine.
const NOTICED: Duration = Duration::from_secs(2);

impl Args {
    /// What is done, in a few words.
    pub fn title(&self) -> String {
        format!(
            "{PAGES} pages after {}, one never answers, {} in all",
            time(LATENCY),
            time(self.deadline)
        )
    }

    /// # Errors
    ///
    /// The deadline would cut pages that the site does answer.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.deadline < 2 * LATENCY {
            return Err(Error::Usage(format!(
                "--deadline {}: the pages take {}, so it is {} at least",
                time(self.deadline),
                time(LATENCY),
                time(2 * LATENCY)
            )));
        }
        Ok(())
    }

    fn jobs(&self, context: &mut Context) -> Result<Vec<Job>, Error> {
        let address = context.site()?.address();
        let mut paths: Vec<String> = (0..PAGES).map(|n| format!("/page/{n}")).collect();
        paths.push("/stall".into());
        if self.with_failures {
            paths.extend(["/drip/0".into(), "/stall-body/1".into()]);
        }
        let job = |(task, path): (usize, String)| {
            let delay = if task < PAGES as usize { LATENCY.as_millis() } else { 0 };
            let url = format!("http://{address}{path}?delay={delay}");
            Job { task, url, addresses: vec![address], page: path, timeout: TIMEOUT }
        };
        Ok(paths.into_iter().enumerate().map(job).collect())
    }
}

/// What this process has open, as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holdings {
    threads: usize,
    children: usize,
    descriptors: usize,
}

impl Holdings {
    fn now() -> Holdings {
        let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
        Holdings {
            threads: entries("/proc/self/task"),
            children: children().len(),
            descriptors: entries("/proc/self/fd"),
        }
    }

    /// What is open as soon as it is no more than before, or after a while: the kernel lists a
    /// joined thread for a moment longer.
    fn afterwards(before: Holdings) -> Holdings {
        let safety = Instant::now() + NOTICED;
        loop {
            let now = Holdings::now();
            if now.left_behind(before) == 0 || Instant::now() > safety {
                return now;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn left_behind(self, before: Holdings) -> usize {
        self.threads.saturating_sub(before.threads)
            + self.children.saturating_sub(before.children)
            + self.descriptors.saturating_sub(before.descriptors)
    }
}

/// What one or several runs showed.
pub struct Measured {
    /// How many pages were cut at the deadline, of how many.
    pub cut: usize,
    pub pages: usize,
    /// Threads, processes and descriptors more than before, and requests that the site saw neither
    /// answered nor cancelled.
    pub left_behind: usize,
    /// How long it took until all pages were answered or cut.
    pub walls: Times,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// The site cannot be started or asked.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let jobs = args.jobs(context)?;
    let deadline = context.style.deadline;
    // A loop may start something once and keep it. It has to be there before anything is counted.
    deadline(jobs[..1].to_vec(), NOTICED);
    let mut section = Section::default();
    let mut walls = Times::default();
    let mut steps = Vec::new();
    let (mut cut, mut left_behind) = (0, 0);
    let mut held = (Holdings::now(), Holdings::now());
    for _ in 0..context.repeat {
        context.site()?.reset()?;
        let (before, begin) = (Holdings::now(), now());
        let outcomes = section.watch(|| walls.time(|| deadline(jobs.clone(), args.deadline)));
        let end = now();
        held = (before, Holdings::afterwards(before));
        left_behind = left_behind.max(held.1.left_behind(before) + open(context)?);
        steps = ladder_steps(&outcomes, begin, end);
        cut = outcomes.iter().filter(|o| o.result.is_err()).count();
        let width = jobs.iter().map(|j| j.page.len()).max().unwrap_or(0);
        section.answers(outcomes.iter().map(|o| o.line(width)).collect());
        if let Some(wrong) = wrong(&outcomes, jobs.len()) {
            section.wrong = Some(wrong);
        }
        section.spans = outcomes.into_iter().flat_map(|o| o.spans).collect();
    }
    if left_behind > 0 {
        section.wrong = Some(format!("left behind: {:?}, was {:?}", held.1, held.0));
    }
    let measured = Measured { cut, pages: jobs.len(), left_behind, walls };
    describe(context, args, &mut section, &measured, &steps, held);
    section.expect("nothing is left behind", nothing_left_behind(&measured));
    Ok((section, measured))
}

/// How many requests are open at the site after the time it needs to notice that clients have
/// disconnected.
fn open(context: &mut Context) -> Result<usize, Error> {
    let safety = Instant::now() + NOTICED;
    loop {
        let open = context.site()?.stats()?.open;
        if open == 0 || Instant::now() > safety {
            return Ok(open);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn ladder_steps(outcomes: &[Outcome], begin: u64, end: u64) -> Vec<Step> {
    let step = |outcome: &Outcome| Step {
        name: outcome.page.clone(),
        from_us: begin,
        to_us: match outcome.result {
            Ok(_) => outcome.spans.iter().map(|s| s.to_us).max().unwrap_or(end),
            Err(_) => end,
        },
        sign: if outcome.result.is_ok() { '●' } else { '✕' },
    };
    outcomes.iter().map(step).collect()
}

fn wrong(outcomes: &[Outcome], pages: usize) -> Option<String> {
    if outcomes.len() != pages {
        return Some(format!("{pages} pages asked for, {} outcomes", outcomes.len()));
    }
    let mut odd = outcomes.iter().enumerate().filter(|(place, outcome)| {
        let right = match &outcome.result {
            Ok(page) => *place < PAGES as usize && *page == sites_page(*place as u64),
            Err(words) => *place >= PAGES as usize && words == "timed out",
        };
        outcome.task != *place || !right
    });
    odd.next().map(|(_, outcome)| format!("not as expected: {}", outcome.line(0)))
}

fn describe(
    context: &Context,
    args: &Args,
    section: &mut Section,
    m: &Measured,
    steps: &[Step],
    held: (Holdings, Holdings),
) {
    let (wall, limit) = (m.walls.median(), args.deadline.as_secs_f64());
    section.wall_s = Some(wall);
    section.limit_s = Some(limit);
    section.shown = bars(&[
        Bar::new("returned", wall, &m.walls.note(&context.machine)),
        Bar::new("the deadline", limit, &format!("{} of {} pages cut at it", m.cut, m.pages)),
    ]);
    let begin = steps.first().map_or(0, |s| s.from_us);
    let mark = begin + args.deadline.as_micros() as u64;
    section.picture = json!({"kind": "ladder", "steps": steps, "mark_us": mark});
    section.shown.extend(ladder(steps, Some(mark)));
    let (before, after) = held;
    let pair = |name: &str, before: usize, after: usize| format!("{name} {before} → {after}");
    section.shown.push(format!(
        "  before → after: {}, {}, {}, left: {}",
        pair("threads", before.threads, after.threads),
        pair("children", before.children, after.children),
        pair("descriptors", before.descriptors, after.descriptors),
        m.left_behind,
    ));
    section.measure("returned_s", json!(m.walls.seconds));
    section.measure("cut", json!(m.cut));
    section.measure("left_behind", json!(m.left_behind));
    for (name, held) in [("before", before), ("after", after)] {
        let Holdings { threads, children, descriptors } = held;
        let held = json!({"threads": threads, "children": children, "descriptors": descriptors});
        section.measure(name, held);
    }
}

fn nothing_left_behind(m: &Measured) -> Verdict {
    let said = format!(
        "{} of {} pages were cut at the deadline, {} threads, processes, descriptors or requests \
         left",
        m.cut, m.pages, m.left_behind
    );
    if m.left_behind == 0 && m.cut > 0 { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_is_counted() {
        let before = Holdings { threads: 1, children: 1, descriptors: 7 };
        assert_eq!(before.left_behind(before), 0);
        assert_eq!(Holdings { threads: 2, ..before }.left_behind(before), 1);
        assert_eq!(Holdings { children: 3, ..before }.left_behind(before), 2);
        assert_eq!(Holdings { descriptors: 8, ..before }.left_behind(before), 1);
        assert_eq!(Holdings { descriptors: 5, ..before }.left_behind(before), 0);
        let now = Holdings::now();
        assert!(now.threads > 0 && now.descriptors > 0);
    }

    #[test]
    fn verdicts_follow_the_figures() {
        for (cut, left_behind, word) in
            [(1, 0, "holds"), (1, 1, "does not hold"), (0, 0, "does not hold")]
        {
            let m = Measured { cut, pages: 6, left_behind, walls: Times::default() };
            assert_eq!(nothing_left_behind(&m).word(), word, "{cut} cut, {left_behind} left");
        }
    }
}
