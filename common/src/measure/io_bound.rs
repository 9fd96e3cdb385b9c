//! io-bound: fetch pages, all at once. Slides 3, 7-8, 17, 28.

use std::net::ToSocketAddrs;
use std::time::Duration;

use http::Uri;
use serde_json::json;

use crate::error::Error;
use crate::http::{page, request};
use crate::machine::Machine;
use crate::measure::context::Context;
use crate::partner::site::handle::Site;
use crate::report::bars::{Bar, bars};
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::span::{Span, threads};
use crate::style::{Also, Fetch, Style};
use crate::units::{duration, plural, time};
use crate::workload::io_bound::{Job, Outcome, Page};

/// How much is fetched, and from where.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Fetch these `http://` URLs instead of pages of the built-in site
    #[arg(value_name = "URL", conflicts_with_all = ["pages", "latency", "with_failures"])]
    pub urls: Vec<String>,
    /// How many pages to fetch
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub pages: u64,
    /// How long the site takes for each page
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = duration)]
    pub latency: Duration,
    /// At most N at once: N workers take them from one queue
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub at_once: Option<u64>,
    /// Fetch one page of each broken kind as well
    #[arg(long)]
    pub with_failures: bool,
    /// A page times out after this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Run another of the style's functions
    #[arg(long, value_name = "NAME")]
    pub way: Option<String>,
    /// The jobs for the URLs given, their names resolved.
    #[arg(skip)]
    jobs: Vec<Job>,
}

impl Args {
    /// The function that the flags select.
    fn run(&self, style: &Style) -> Result<Fetch, Error> {
        let Some(name) = &self.way else { return Ok(style.io_bound) };
        style.way(name, |also| match also {
            Also::IoBound(name, run) => Some((name, *run)),
            _ => None,
        })
    }

    /// Resolves the names of the URLs given.
    ///
    /// # Errors
    ///
    /// More pages at once than the style or the machine can hold, or a URL that cannot be used.
    pub fn check(&mut self, style: &Style, machine: &Machine) -> Result<(), Error> {
        self.run(style)?;
        if self.timeout < MIN_TIMEOUT {
            let (given, least) = (time(self.timeout), time(MIN_TIMEOUT));
            return Err(Error::Usage(format!("--timeout {given}: it is {least} at least")));
        }
        let pages = self.at_once();
        let limit = style.at_most.min(style.tasks_for(machine.free_descriptors()));
        if pages > limit {
            let why = if limit < style.at_most {
                format!("the descriptors do for {limit} at once (ulimit -n; or use --at-once)")
            } else {
                format!("{} holds {limit} at once (use --at-once)", style.program)
            };
            return Err(Error::Usage(format!("{}: {why}", plural(pages, "page"))));
        }
        let urls = self.urls.iter().enumerate();
        let jobs = urls.map(|(task, url)| given_job(task, url, self.timeout));
        self.jobs = jobs.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// How many pages may be open at once: also the number of tasks and descriptors.
    pub fn at_once(&self) -> usize {
        let pages = match self.urls.len() {
            0 => self.pages as usize + BROKEN.len() * usize::from(self.with_failures),
            urls => urls,
        };
        self.at_once.map_or(pages, |n| pages.min(n as usize))
    }

    /// What is fetched, in a few words.
    pub fn title(&self) -> String {
        if self.urls.is_empty() {
            format!(
                "{}, each answered after {}",
                plural(self.pages as usize, "page"),
                time(self.latency)
            )
        } else {
            format!("{} of other sites", plural(self.urls.len(), "page"))
        }
    }

    fn own_jobs(&self, site: &Site) -> Vec<(Job, Expected)> {
        let mut jobs = Vec::new();
        let delay = self.latency.as_millis();
        for n in 0..self.pages {
            let path = format!("/page/{n}");
            let url = format!("http://{}{path}?delay={delay}", site.address());
            let (task, addresses) = (jobs.len(), vec![site.address()]);
            let job = Job { task, url, addresses, page: path, timeout: self.timeout };
            jobs.push((job, Expected::Page(n)));
        }
        if self.with_failures {
            for (page, expected) in BROKEN {
                let (refused, open) = (site.refused(), site.address());
                let (path, addresses) = match page {
                    "/refused" => (page, vec![refused]),
                    "/second" => ("/page/0", vec![refused, open]),
                    "/unknown" => (page, vec![]),
                    _ => (page, vec![open]),
                };
                let url = format!("http://{open}{path}");
                let timeout = if page == "/stall" { STALLED } else { self.timeout };
                let timeout = timeout.min(self.timeout);
                let job = Job { task: jobs.len(), url, addresses, page: page.into(), timeout };
                jobs.push((job, expected));
            }
        }
        jobs
    }
}

/// With a shorter timeout some styles would get their pages and some would not.
const MIN_TIMEOUT: Duration = Duration::from_millis(10);

/// The timeout of the page that never answers, with `--with-failures`.
const STALLED: Duration = Duration::from_secs(1);

/// What can go wrong with a page, and how the outcome has to describe it. The second of the names
/// has two addresses, and the first of them refuses; the third name has no address.
const BROKEN: [(&str, Expected); 8] = [
    ("/refused", Expected::Failure("connection refused")),
    ("/second", Expected::Page(0)),
    ("/unknown", Expected::Failure("host not found")),
    ("/reset", Expected::Failure("connection reset")),
    ("/truncated", Expected::Failure("closed before the end")),
    ("/malformed", Expected::Failure("malformed answer")),
    ("/stall", Expected::Failure("timed out")),
    ("/status/404", Expected::Status(404)),
];

#[derive(Clone, Copy)]
enum Expected {
    Page(u64),
    Status(u16),
    Failure(&'static str),
}

impl Expected {
    fn is(self, result: &Result<Page, String>) -> bool {
        match (self, result) {
            (Expected::Page(n), Ok(page)) => *page == sites_page(n),
            (Expected::Status(status), Ok(page)) => page.status == status,
            (Expected::Failure(words), Err(said)) => words == said,
            _ => false,
        }
    }
}

/// What page `n` of the built-in site must be.
pub(crate) fn sites_page(n: u64) -> Page {
    let (length, crc32) = page::facts(n);
    Page { status: 200, length, crc32 }
}

fn given_job(task: usize, url: &str, timeout: Duration) -> Result<Job, Error> {
    let wrong = |why: &str| Error::Usage(format!("{url}: {why}"));
    let uri: Uri = url.parse().map_err(|_| wrong("not a URL; one begins with http://"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(wrong("https needs TLS, which is not shown here; use http")),
        _ => return Err(wrong("not an http:// URL")),
    }
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let (_, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let parts = request::authority(place);
    let (host, port) = parts.ok_or_else(|| wrong("the host or its port is not valid"))?;
    if host.is_empty() {
        return Err(wrong("names no host"));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.unwrap_or(80);
    // A name that cannot be resolved has no address. Only that page fails.
    let addresses = (bare, port).to_socket_addrs().map_or(Vec::new(), Vec::from_iter);
    let (url, page) = (url.to_string(), url.to_string());
    Ok(Job { task, url, addresses, page, timeout })
}

/// What one or several runs showed.
pub struct Measured {
    pub pages: usize,
    pub at_once: usize,
    pub cores: usize,
    pub walls: Times,
    /// The most requests open at the site at once, as the site counts them; `None` for other sites.
    pub most_open: Option<usize>,
    /// How many threads, of all processes, the tasks ended in.
    pub threads: usize,
    /// One by one, measured on a few pages: seconds taken, and seconds of waiting requested.
    pub in_turn: Option<(f64, f64)>,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// The site cannot be started or asked.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let own = args.urls.is_empty();
    let (jobs, expected): (Vec<Job>, Vec<Expected>) = if own {
        args.own_jobs(context.site()?).into_iter().unzip()
    } else {
        (args.jobs.clone(), Vec::new())
    };
    let style = context.style;
    let mut section = Section::default();
    let mut walls = Times::default();
    let run = args.run(style)?;
    let mut most_open = 0;
    for _ in 0..context.repeat {
        if own {
            context.site()?.reset()?;
        }
        let outcomes = section.watch(|| {
            walls.time(|| match args.at_once {
                Some(at_once) => (style.io_bound_bounded)(jobs.clone(), at_once as usize),
                None => run(jobs.clone()),
            })
        });
        if own {
            most_open = most_open.max(context.site()?.stats()?.most_open);
        }
        let width = jobs.iter().map(|j| j.page.chars().count()).max().unwrap_or(0);
        section.answers(outcomes.iter().map(|o| o.line(width)).collect());
        if let Some(wrong) = wrong(&jobs, &expected, &outcomes) {
            section.wrong = Some(wrong);
        }
        section.spans = outcomes.into_iter().flat_map(|o| o.spans).collect();
    }
    let in_turn = if own { Some(in_turn(context, args, &jobs)?) } else { None };
    let measured = Measured {
        pages: jobs.len(),
        at_once: args.at_once(),
        cores: context.machine.cores,
        most_open: own.then_some(most_open),
        threads: threads(&section.spans),
        in_turn,
        walls,
    };
    describe(context, args, &mut section, &measured);
    section.expect("the waits overlap", waits_overlap(&measured));
    Ok((section, measured))
}

/// A few of the pages one after the other: what waiting costs without concurrency.
fn in_turn(context: &mut Context, args: &Args, jobs: &[Job]) -> Result<(f64, f64), Error> {
    let few = (args.pages as usize).min(4);
    let waits = few as f64 * args.latency.as_secs_f64();
    let mut walls = Times::default();
    walls.time(|| (context.style.io_bound_bounded)(jobs[..few].to_vec(), 1));
    context.site()?.reset()?;
    Ok((walls.median(), waits))
}

fn wrong(jobs: &[Job], expected: &[Expected], outcomes: &[Outcome]) -> Option<String> {
    if outcomes.len() != jobs.len() {
        return Some(format!("{} pages asked for, {} outcomes", jobs.len(), outcomes.len()));
    }
    let out_of_place = outcomes.iter().enumerate().find(|(place, o)| o.task != *place);
    if let Some((place, outcome)) = out_of_place {
        return Some(format!("outcome {} is in place {place}", outcome.task));
    }
    if expected.is_empty() {
        // Pages of another site: every answer is right, as long as there is one.
        let failed = outcomes.iter().find(|o| !matches!(o.result, Ok(page) if page.status < 400));
        return failed.map(|o| format!("could not fetch {}", o.line(0)));
    }
    let pairs = expected.iter().zip(outcomes);
    let mut odd = pairs.filter(|(expected, outcome)| !expected.is(&outcome.result));
    odd.next().map(|(_, outcome)| format!("not as expected: {}", outcome.line(0)))
}

fn describe(context: &Context, args: &Args, section: &mut Section, measured: &Measured) {
    let durations = |s: &Span| (s.to_us - s.from_us) as f64 / 1e6;
    let mut per_task = vec![0.0; measured.pages];
    for span in &section.spans {
        per_task[span.task] += durations(span);
    }
    let (one_by_one, limit) = if measured.most_open.is_some() {
        let latency = args.latency.as_secs_f64();
        let stalled =
            if args.with_failures { args.timeout.min(STALLED).as_secs_f64() } else { 0.0 };
        let waits = args.pages as f64 * latency + stalled;
        let rounds = measured.pages.div_ceil(measured.at_once) as f64;
        (waits, (latency * rounds).max(stalled))
    } else {
        let slowest = per_task.iter().copied().fold(0.0, f64::max);
        (per_task.iter().sum(), slowest)
    };
    let wall = measured.walls.median();
    let times = format!("{:.1} × as long, computed", one_by_one / wall);
    section.wall_s = Some(wall);
    section.baseline_s = Some(one_by_one);
    section.limit_s = Some(limit);
    section.shown = bars(&[
        Bar::new(context.style.label(), wall, &measured.walls.note(&context.machine)),
        Bar::new("one by one", one_by_one, &times),
        Bar::new("the limit", limit, "the slowest page"),
    ]);
    section.draw();
    section.measure("runs", json!(measured.walls.seconds));
    section.measure("threads", json!(measured.threads));
    if let Some(most_open) = measured.most_open {
        section.measure("most_open", json!(most_open));
        section.shown.push(format!(
            "  most requests open at the site at once: {most_open} of {}",
            measured.pages
        ));
    }
}

/// T4, P4: waits overlap.
pub fn waits_overlap(m: &Measured) -> Verdict {
    match m.most_open {
        None => Verdict::NotMeasurable("only the built-in site counts what is open at once".into()),
        _ if m.at_once < 2 => Verdict::NotMeasurable("one page at a time was asked for".into()),
        Some(open) if open > 1 => {
            Verdict::Holds(format!("{open} of {} requests were open at the site at once", m.pages))
        }
        Some(open) => Verdict::Fails(format!("{open} request at a time was open at the site")),
    }
}

/// A2: one thread serves many connections by events.
pub fn one_thread_many_connections(m: &Measured) -> Verdict {
    match (waits_overlap(m), m.threads) {
        (Verdict::Holds(_), 1) => {
            let open = m.most_open.unwrap_or(0);
            Verdict::Holds(format!("one thread had {open} connections open at once"))
        }
        (Verdict::Holds(_), threads) => {
            Verdict::Fails(format!("the tasks ran on {threads} threads"))
        }
        (other, _) => other,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What other judges need of this workload: 20 pages on two cores.
    pub(in crate::measure) fn measured(
        most_open: Option<usize>,
        at_once: usize,
        threads: usize,
    ) -> Measured {
        Measured {
            pages: 20,
            at_once,
            cores: 2,
            walls: Times::default(),
            most_open,
            threads,
            in_turn: None,
        }
    }

    #[test]
    fn verdicts_follow_the_figures() {
        // Open at the site, at once, threads: waits overlap, one thread has many connections.
        let (yes, no, unknown) = ("holds", "does not hold", "not measurable here");
        for (most_open, at_once, threads, overlap, one_thread) in [
            (Some(20), 20, 1, yes, yes),
            (Some(1), 20, 1, no, no),
            (Some(0), 20, 1, no, no),
            (Some(20), 20, 20, yes, no),
            (Some(20), 20, 0, yes, no),
            (Some(1), 1, 1, unknown, unknown),
            (None, 20, 1, unknown, unknown),
        ] {
            let m = measured(most_open, at_once, threads);
            let words = (waits_overlap(&m).word(), one_thread_many_connections(&m).word());
            assert_eq!(words, (overlap, one_thread), "{most_open:?} {at_once} {threads}");
        }
    }

    #[test]
    fn a_url_that_is_none_says_so() {
        for url in ["https://127.0.0.1/", "ftp://127.0.0.1/", "127.0.0.1", "http://", "/page/1"] {
            let error = given_job(0, url, STALLED).unwrap_err();
            assert!(matches!(&error, Error::Usage(why) if why.starts_with(url)), "{error}");
        }
        for port in ["65536", "99999", "http", "abc", "-1", "+1", "80x", "8:0"] {
            let url = format!("http://127.0.0.1:{port}/a");
            let error = given_job(0, &url, STALLED).unwrap_err();
            assert!(matches!(&error, Error::Usage(why) if why.starts_with(&url)), "{error}");
        }
        let job = given_job(3, "http://u:p%40ss@127.0.0.1:81/a?b", STALLED).unwrap();
        assert_eq!(job.addresses, [([127, 0, 0, 1], 81).into()]);
        let job = given_job(3, "http://127.0.0.1:81/a?b", STALLED).unwrap();
        assert_eq!(job.addresses, [([127, 0, 0, 1], 81).into()]);
        let job = given_job(3, "http://[::1]/", STALLED).unwrap();
        assert_eq!(job.addresses[0].port(), 80);
    }
}
