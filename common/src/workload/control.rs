//! control: cut what takes too long, and pause what runs. Slide 27.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Error;
use crate::chapter::Stage;
use crate::report::{Bar, Section, Times, Verdict, bars};
use crate::timeline::{Step, ladder, now};
use crate::workload::io_bound::{Job, Outcome, own_job, sites_page};

/// What is paused: it counts from 1, without an end.
#[derive(Clone, Debug)]
pub struct Counter {
    counted: u32,
    hold: Duration,
}

impl Counter {
    /// How many numbers it makes before it is paused, and how many after that.
    pub const HALF: u32 = 3;

    /// The next number.
    pub fn count(&mut self) -> u32 {
        self.counted += 1;
        self.counted
    }

    /// For how long it is kept paused.
    pub fn hold(&self) -> Duration {
        self.hold
    }
}

/// What the controller saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paused {
    /// The numbers that came before the pause.
    pub before: Vec<u32>,
    /// How many had been made when the paused side confirmed that it was paused.
    pub at_confirm: u32,
    /// How many had been made when it was resumed.
    pub at_resume: u32,
    /// The numbers that came after that.
    pub after: Vec<u32>,
    /// How many had been made when it was gone.
    pub at_end: u32,
}

impl Paused {
    fn line(&self) -> String {
        let during = self.at_resume.wrapping_sub(self.at_confirm);
        format!("{} | paused: {during} | {}", join(&self.before), join(&self.after))
    }

    /// What it has to be.
    fn expected() -> Paused {
        let half = Counter::HALF;
        Paused {
            before: (1..=half).collect(),
            at_confirm: half,
            at_resume: half,
            after: (half + 1..=2 * half).collect(),
            at_end: 2 * half,
        }
    }
}

/// When what is cut, and for how long what is paused.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// When to call off the rest
    #[arg(long, value_name = "TIME", default_value = "300ms", value_parser = crate::cli::duration)]
    pub deadline: Duration,
    /// As well a page that drips, one that stops halfway
    #[arg(long)]
    pub with_failures: bool,
    /// How long the counter is kept paused
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = crate::cli::duration)]
    pub hold: Duration,
}

/// How many pages there are that do answer, and how far away each is.
const PAGES: u64 = 5;
const LATENCY: Duration = Duration::from_millis(50);

/// A page that nobody calls off is given up after this time all the same.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long the kernel and the site may take to notice on a busy machine.
const NOTICED: Duration = Duration::from_secs(2);

impl Args {
    /// What happens, in a few words.
    pub fn title(&self) -> String {
        format!("a deadline of {:?}, and a pause", self.deadline)
    }

    /// # Errors
    ///
    /// The deadline would cut pages that do answer.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.deadline < 2 * LATENCY {
            let Args { deadline, .. } = self;
            return Err(Error::Usage(format!(
                "--deadline {deadline:?}: the pages are {LATENCY:?} away, so it is {:?} at least",
                2 * LATENCY
            )));
        }
        Ok(())
    }

    fn jobs(&self, stage: &mut Stage) -> Result<Vec<Job>, Error> {
        let address = stage.site()?.address();
        let mut paths: Vec<String> = (0..PAGES).map(|n| format!("/page/{n}")).collect();
        paths.push("/stall".into());
        if self.with_failures {
            paths.extend(["/drip/0".into(), "/stall-body/1".into()]);
        }
        let job = |(task, path): (usize, String)| {
            let delay = if task < PAGES as usize { LATENCY.as_millis() } else { 0 };
            let url = format!("http://{address}{path}?delay={delay}");
            own_job(task, address, path, url, PATIENCE)
        };
        Ok(paths.into_iter().enumerate().map(job).collect())
    }
}

/// What this process holds, by the kernel's count.
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

    /// What is held as soon as it is no more than before, or after a while: a thread that was
    /// joined is listed for a moment longer.
    fn afterwards(before: Holdings) -> Holdings {
        let patience = Instant::now() + NOTICED;
        loop {
            let now = Holdings::now();
            if now.left_behind(before) == 0 || Instant::now() > patience {
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

/// The children of this process, by the kernel's count, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// What one or several runs showed.
pub struct Measured {
    /// How many pages were cut at the deadline, of how many.
    pub cut: usize,
    pub pages: usize,
    /// Threads, processes and descriptors more than before, and requests that the site saw
    /// neither answered nor given up.
    pub left_behind: usize,
    pub paused: Paused,
    /// When all pages had been answered or cut.
    pub walls: Times,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// The site cannot be started or asked.
pub fn conduct(stage: &mut Stage) -> Result<(Section, Measured), Error> {
    let args = stage.flags.control.clone();
    let jobs = args.jobs(stage)?;
    let deadline = stage.chapter.control_deadline;
    // What a loop starts once and keeps is there before anything is counted.
    deadline(jobs[..1].to_vec(), NOTICED);
    let mut section = Section::default();
    let mut walls = Times::default();
    let mut steps = Vec::new();
    let (mut cut, mut left_behind) = (0, 0);
    let mut held = (Holdings::now(), Holdings::now());
    let mut paused = Paused::default();
    for _ in 0..stage.flags.repeat {
        stage.site()?.reset()?;
        let (before, begin) = (Holdings::now(), now());
        let outcomes = walls.time(|| deadline(jobs.clone(), args.deadline));
        let end = now();
        held = (before, Holdings::afterwards(before));
        left_behind = left_behind.max(held.1.left_behind(before) + open(stage)?);
        steps = ladder_steps(&outcomes, begin, end);
        cut = outcomes.iter().filter(|o| o.result.is_err()).count();
        let width = jobs.iter().map(|j| j.page.len()).max().unwrap_or(0);
        let mut lines: Vec<String> = outcomes.iter().map(|o| o.line(width)).collect();

        paused = (stage.chapter.control_pause)(Counter { counted: 0, hold: args.hold });
        lines.push(paused.line());
        section.answers(lines);
        if let Some(wrong) = wrong(&outcomes, jobs.len(), &paused) {
            section.wrong = Some(wrong);
        }
        section.spans = outcomes.into_iter().flat_map(|o| o.spans).collect();
    }
    if left_behind > 0 {
        section.wrong = Some(format!("left behind: {:?}, was {:?}", held.1, held.0));
    }
    let measured = Measured { cut, pages: jobs.len(), left_behind, paused, walls };
    describe(stage, &mut section, &measured, &steps, held);
    Ok((section, measured))
}

/// How many requests are open at the site, once it has had the time to notice who has gone.
fn open(stage: &mut Stage) -> Result<usize, Error> {
    let patience = Instant::now() + NOTICED;
    loop {
        let open = stage.site()?.stats()?.open;
        if open == 0 || Instant::now() > patience {
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

fn wrong(outcomes: &[Outcome], pages: usize, paused: &Paused) -> Option<String> {
    if outcomes.len() != pages {
        return Some(format!("{pages} pages asked for, {} outcomes", outcomes.len()));
    }
    let odd = outcomes.iter().enumerate().find(|(place, outcome)| {
        let right = match &outcome.result {
            Ok(page) => *place < PAGES as usize && *page == sites_page(*place as u64),
            Err(words) => *place >= PAGES as usize && words == "timed out",
        };
        outcome.task != *place || !right
    });
    if let Some((_, outcome)) = odd {
        return Some(format!("not as expected: {}", outcome.line(0)));
    }
    (*paused != Paused::expected()).then(|| format!("not as expected: {paused:?}"))
}

fn describe(
    stage: &Stage,
    section: &mut Section,
    m: &Measured,
    steps: &[Step],
    held: (Holdings, Holdings),
) {
    let args = &stage.flags.control;
    let (wall, limit) = (m.walls.median(), args.deadline.as_secs_f64());
    section.wall_s = Some(wall);
    section.limit_s = Some(limit);
    section.shown = bars(&[
        Bar::new("returned", wall, &m.walls.note(&stage.machine)),
        Bar::new("the deadline", limit, &format!("{} of {} pages cut at it", m.cut, m.pages)),
    ]);
    let begin = steps.first().map_or(0, |s| s.from_us);
    section.shown.extend(ladder(steps, Some(begin + args.deadline.as_micros() as u64)));
    let (before, after) = held;
    let pair = |name: &str, before: usize, after: usize| format!("{name} {before} → {after}");
    section.shown.push(format!(
        "  before → after: {}, {}, {}, left: {}",
        pair("threads", before.threads, after.threads),
        pair("children", before.children, after.children),
        pair("descriptors", before.descriptors, after.descriptors),
        m.left_behind,
    ));
    section.shown.push(format!(
        "  {} ▌▌ paused {:?}, and confirmed: {} made ▶ {} ■ stopped",
        join(&m.paused.before),
        args.hold,
        m.paused.at_resume.wrapping_sub(m.paused.at_confirm),
        join(&m.paused.after),
    ));
    section.measure("returned_s", json!(m.walls.seconds));
    section.measure("cut", json!(m.cut));
    section.measure("left_behind", json!(m.left_behind));
    for (name, held) in [("before", before), ("after", after)] {
        let Holdings { threads, children, descriptors } = held;
        let held = json!({"threads": threads, "children": children, "descriptors": descriptors});
        section.measure(name, held);
    }
    section.measure("made_while_paused", json!(m.paused.at_resume - m.paused.at_confirm));
}

fn join(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(" ")
}

/// K8: the caller decides what runs next: it pauses, resumes, stops.
pub fn the_caller_decides(m: &Measured) -> Verdict {
    let Paused { at_confirm, at_resume, at_end, .. } = m.paused;
    let said = format!(
        "paused after {at_confirm}, {at_resume} at resume, {at_end} when stopped; {} of {} pages \
         cut at the deadline, {} left behind",
        m.cut, m.pages, m.left_behind
    );
    if m.paused == Paused::expected() && m.cut > 0 && m.left_behind == 0 {
        Verdict::Holds(said)
    } else {
        Verdict::Fails(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_none_is_wrong() {
        let right = Paused::expected();
        assert_eq!(right.line(), "1 2 3 | paused: 0 | 4 5 6");
        assert_eq!(wrong(&[], 0, &right), None);
        let went_on = Paused { at_resume: 4, ..right.clone() };
        assert_eq!(went_on.line(), "1 2 3 | paused: 1 | 4 5 6");
        assert!(wrong(&[], 0, &went_on).is_some());
        let unstopped = Paused { at_end: 7, ..right };
        assert!(wrong(&[], 0, &unstopped).is_some());
    }

    #[test]
    fn what_is_left_behind_is_counted() {
        let before = Holdings { threads: 1, children: 1, descriptors: 7 };
        assert_eq!(before.left_behind(before), 0);
        assert_eq!(Holdings { threads: 2, ..before }.left_behind(before), 1);
        assert_eq!(Holdings { descriptors: 5, ..before }.left_behind(before), 0);
        let now = Holdings::now();
        assert!(now.threads > 0 && now.descriptors > 0);
    }

    #[test]
    fn children_are_counted() {
        use std::process::{Command, Stdio};
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("there is cat");
        assert!(children().contains(&child.id()));
        drop(child.stdin.take());
        child.wait().expect("it ends with its input");
        assert!(!children().contains(&child.id()));
    }

    #[test]
    fn control_is_judged_by_what_was_made_and_left() {
        let walls = Times { seconds: vec![0.3] };
        let paused = Paused::expected();
        let m = |left_behind| Measured {
            cut: 1,
            pages: 6,
            left_behind,
            paused: paused.clone(),
            walls: walls.clone(),
        };
        assert_eq!(the_caller_decides(&m(0)).word(), "holds");
        assert_eq!(the_caller_decides(&m(1)).word(), "does not hold");
    }
}
