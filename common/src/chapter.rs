//! A style's table of contents, and the `main` that runs it.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use crate::Error;
use crate::claims;
use crate::cli::{Command, Flags, Output, parse};
use crate::machine::Machine;
use crate::report::{Judged, Report, Section, Verdict};
use crate::site::Site;
use crate::timeline::{Span, chrome_trace};
use crate::workload::control::{self, Counter, Paused};
use crate::workload::cpu_bound::{self, Count, Counted};
use crate::workload::early_results::{self, Arrivals};
use crate::workload::interactivity::{self, Beats, Heart};
use crate::workload::io_bound::{self, Job, Outcome};
use crate::workload::ordering::{self, Steps};
use crate::workload::resources::{self, Meter};
use crate::workload::server::{self, Served};
use crate::workload::shared_state::{self, Bank, Totals, Version};

/// One style of the talk: what it is called, how it waits, and its version of every workload.
#[derive(Clone, Copy)]
pub struct Chapter {
    pub style: &'static str,
    /// Where one style comes on several event loops, this one's name.
    pub event_loop: Option<&'static str>,
    pub slides: &'static str,
    /// Who schedules, and how a task waits.
    pub waits: &'static str,
    /// How many tasks it can hold at once.
    pub at_most: usize,
    pub io_bound: fn(Vec<Job>) -> Vec<Outcome>,
    pub io_bound_bounded: fn(Vec<Job>, usize) -> Vec<Outcome>,
    pub cpu_bound: fn(Vec<Count>) -> Vec<Counted>,
    pub ordering: fn(Vec<Steps>) -> String,
    pub shared_state_careless: fn(&Bank) -> Totals,
    pub shared_state_careful: fn(&Bank) -> Totals,
    pub shared_state_also: &'static [Version],
    pub interactivity_careless: fn(Count, Heart) -> Beats,
    pub interactivity_careful: fn(Count, Heart) -> Beats,
    pub early_results: fn(Vec<Job>, &mut Arrivals),
    pub control_deadline: fn(Vec<Job>, Duration) -> Vec<Outcome>,
    pub control_pause: fn(Counter) -> Paused,
    /// How many tasks `resources` starts, unless it is told.
    pub idle_tasks: u64,
    pub resources_idle: fn(usize, &mut Meter),
    pub resources_ring: fn(usize, usize) -> usize,
    /// Serves until the second argument is at its end.
    pub server: fn(TcpListener, UnixStream) -> io::Result<Served>,
    /// How many connections the server holds at once.
    pub max_connections: usize,
    pub asides: &'static [Aside],
    pub claims: &'static [Claim],
}

/// What only one style has.
pub struct Aside {
    pub name: &'static str,
    pub slides: &'static str,
    pub about: &'static str,
    pub run: fn(&Flags) -> Section,
}

impl Aside {
    /// Whether it takes a port to listen on: the chat room, which is for people, too.
    pub fn listens(&self) -> bool {
        self.name == "protocols"
    }
}

/// A claim of the talk, by its number, and the evidence that decides it.
pub struct Claim(pub &'static str, pub Seen);

/// What decides a claim, by type: a judge cannot be handed another workload's figures.
pub enum Seen {
    IoBound(fn(&io_bound::Measured) -> Verdict),
    CpuBound(fn(&cpu_bound::Measured) -> Verdict),
    EarlyResults(fn(&early_results::Measured) -> Verdict),
    Control(fn(&control::Measured) -> Verdict),
    Resources(fn(&resources::Measured) -> Verdict),
    Server(fn(&server::Measured) -> Verdict),
    IoAndCpu(fn(&io_bound::Measured, &cpu_bound::Measured) -> Verdict),
    IoAndServer(fn(&io_bound::Measured, &server::Measured) -> Verdict),
    Ordering(fn(&ordering::Measured) -> Verdict),
    SharedState(fn(&shared_state::Measured) -> Verdict),
    Interactivity(fn(&interactivity::Measured) -> Verdict),
    /// The aside's name.
    Aside(&'static str, fn(&Section) -> Verdict),
    /// No number decides it: the file and function to look at.
    Read(&'static str),
}

/// What has been measured so far in this run.
#[derive(Default)]
struct Measurements {
    io_bound: Option<io_bound::Measured>,
    cpu_bound: Option<cpu_bound::Measured>,
    ordering: Option<ordering::Measured>,
    shared_state: Option<shared_state::Measured>,
    interactivity: Option<interactivity::Measured>,
    early_results: Option<early_results::Measured>,
    control: Option<control::Measured>,
    resources: Option<resources::Measured>,
    server: Option<server::Measured>,
    asides: Vec<(&'static str, Section)>,
}

impl Seen {
    /// The verdict, if what decides it was run.
    fn verdict(&self, measured: &Measurements) -> Option<Verdict> {
        match self {
            Seen::IoBound(judge) => measured.io_bound.as_ref().map(judge),
            Seen::CpuBound(judge) => measured.cpu_bound.as_ref().map(judge),
            Seen::EarlyResults(judge) => measured.early_results.as_ref().map(judge),
            Seen::Control(judge) => measured.control.as_ref().map(judge),
            Seen::Resources(judge) => measured.resources.as_ref().map(judge),
            Seen::Server(judge) => measured.server.as_ref().map(judge),
            Seen::IoAndCpu(judge) => {
                let both = measured.io_bound.as_ref().zip(measured.cpu_bound.as_ref());
                both.map(|(io, cpu)| judge(io, cpu))
            }
            Seen::Ordering(judge) => measured.ordering.as_ref().map(judge),
            Seen::SharedState(judge) => measured.shared_state.as_ref().map(judge),
            Seen::Interactivity(judge) => measured.interactivity.as_ref().map(judge),
            Seen::IoAndServer(judge) => {
                let both = measured.io_bound.as_ref().zip(measured.server.as_ref());
                both.map(|(io, server)| judge(io, server))
            }
            Seen::Aside(name, judge) => {
                let mut run = measured.asides.iter().filter(|(run, _)| run == name);
                run.next().map(|(_, section)| judge(section))
            }
            Seen::Read(place) => Some(Verdict::ReadIt((*place).to_string())),
        }
    }
}

/// A workload of the talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    IoBound,
    CpuBound,
    Ordering,
    SharedState,
    Interactivity,
    EarlyResults,
    Control,
    Resources,
    Server,
}

impl Workload {
    /// In the talk's order.
    pub const ALL: [Workload; 9] = [
        Workload::IoBound,
        Workload::CpuBound,
        Workload::Ordering,
        Workload::SharedState,
        Workload::Interactivity,
        Workload::EarlyResults,
        Workload::Control,
        Workload::Resources,
        Workload::Server,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Workload::IoBound => "io-bound",
            Workload::CpuBound => "cpu-bound",
            Workload::Ordering => "ordering",
            Workload::SharedState => "shared-state",
            Workload::Interactivity => "interactivity",
            Workload::EarlyResults => "early-results",
            Workload::Control => "control",
            Workload::Resources => "resources",
            Workload::Server => "server",
        }
    }

    pub fn slides(self) -> &'static str {
        match self {
            Workload::IoBound => "3, 7-8, 17, 28",
            Workload::CpuBound => "3, 9-11, 18-20, 24-26",
            Workload::Ordering => "6, 16, 22",
            Workload::SharedState => "15, 21",
            Workload::Interactivity => "15, 28, 33",
            Workload::EarlyResults | Workload::Control => "27",
            Workload::Resources => "21",
            Workload::Server => "28, 31, 34",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Workload::IoBound => "fetch pages, all at once",
            Workload::CpuBound => "count primes, all at once",
            Workload::Ordering => "in which order tasks run, run after run",
            Workload::SharedState => "move money between the same accounts",
            Workload::Interactivity => "a heart beats while somebody computes",
            Workload::EarlyResults => "take pages as they come, drop the rest",
            Workload::Control => "cut at a deadline; pause, resume, stop",
            Workload::Resources => "what a task costs: memory, start, switch",
            Workload::Server => "answer many clients, all at once",
        }
    }

    /// What this run of it is about, in numbers.
    fn title(self, flags: &Flags) -> String {
        match self {
            Workload::IoBound => flags.io_bound.title(),
            Workload::CpuBound => flags.cpu_bound.title(),
            Workload::Ordering => flags.ordering.title(),
            Workload::SharedState => flags.shared_state.title(),
            Workload::Interactivity => flags.interactivity.title(),
            Workload::EarlyResults => flags.early_results.title(),
            Workload::Control => flags.control.title(),
            Workload::Resources => flags.resources.title(),
            Workload::Server => flags.server.title(),
        }
    }
}

/// What a workload is conducted with.
pub struct Stage<'a> {
    pub chapter: &'a Chapter,
    pub flags: &'a Flags,
    pub machine: Machine,
    site: Option<Site>,
}

impl Stage<'_> {
    /// The web site, a process of its own, started when it is first needed.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn site(&mut self) -> Result<&mut Site, Error> {
        if self.site.is_none() {
            self.site = Some(Site::start()?);
        }
        Ok(self.site.as_mut().expect("it was just started"))
    }
}

impl Chapter {
    /// What its bar in a comparison is called.
    pub fn label(&self) -> &'static str {
        self.event_loop.unwrap_or(self.style)
    }

    /// Runs the program: `chapters` is one, or one for each event loop of a style.
    pub fn main(chapters: &[Chapter]) -> ExitCode {
        let machine = Machine::look();
        let (command, flags, chapter) = match parse(chapters, &machine) {
            Ok(parsed) => parsed,
            Err(error) => return complain(&error),
        };
        match chapter.run(&command, &flags, machine) {
            Ok(code) => code,
            Err(error) => complain(&error),
        }
    }

    fn run(&self, command: &Command, flags: &Flags, machine: Machine) -> Result<ExitCode, Error> {
        match command {
            Command::List => self.list(),
            Command::Site { port } => Ok(crate::site::main(*port)),
            Command::Load(load) => Ok(crate::load::main(load)),
            Command::Weigh(weigh) => Ok(resources::weigh(self, weigh)),
            Command::Serve { port } => server::serve(self, *port, flags.quiet),
            Command::All => self.perform(&Workload::ALL, self.asides, flags, machine),
            Command::Workload(workload) => self.perform(&[*workload], &[], flags, machine),
            Command::Aside(name) => {
                let mut asides = self.asides.iter();
                let aside = asides.position(|a| a.name == name).expect("the cli knows no others");
                self.perform(&[], &self.asides[aside..=aside], flags, machine)
            }
        }
    }

    fn list(&self) -> Result<ExitCode, Error> {
        let row = |name, slides, about| format!("{name:<16} {about:<40} {slides}");
        let workloads = Workload::ALL.iter().map(|w| row(w.name(), w.slides(), w.about()));
        let asides = self.asides.iter().map(|a| row(a.name, a.slides, a.about));
        let mut out = io::stdout().lock();
        let lines = workloads.chain(asides);
        quietly(
            lines
                .into_iter()
                .try_for_each(|line| io::Write::write_fmt(&mut out, format_args!("{line}\n"))),
        )
    }

    /// Conducts workloads and asides one after the other, then judges the claims they decide.
    fn perform(
        &self,
        workloads: &[Workload],
        asides: &[Aside],
        flags: &Flags,
        mut machine: Machine,
    ) -> Result<ExitCode, Error> {
        let everything = workloads.len() + asides.len() > 1;
        let as_json = flags.format == Output::Json;
        let mut stage = Stage { chapter: self, flags, machine, site: None };
        if flags.cores.is_some() && !workloads.is_empty() {
            // The site is no part of the style: it keeps all cores.
            stage.site()?;
        }
        if let Some(cores) = flags.cores {
            machine.use_cores(cores)?;
            stage.machine = machine;
        }
        let mut report = Report::new(self.style, self.event_loop, &machine, flags.quiet, as_json);
        let mut measured = Measurements::default();
        let mut parts: Vec<(String, Vec<Span>)> = Vec::new();
        let mut wrong = Vec::new();
        for workload in workloads {
            report.title(workload.name(), &workload.title(flags), workload.slides());
            let mut section = match workload {
                Workload::IoBound => {
                    let (section, seen) = io_bound::conduct(&mut stage)?;
                    measured.io_bound = Some(seen);
                    section
                }
                Workload::CpuBound => {
                    let (section, seen) = cpu_bound::conduct(&mut stage)?;
                    measured.cpu_bound = Some(seen);
                    section
                }
                Workload::Ordering => {
                    let (section, seen) = ordering::conduct(&mut stage)?;
                    measured.ordering = Some(seen);
                    section
                }
                Workload::SharedState => {
                    let (section, seen) = shared_state::conduct(&mut stage)?;
                    measured.shared_state = Some(seen);
                    section
                }
                Workload::Interactivity => {
                    let (section, seen) = interactivity::conduct(&mut stage)?;
                    measured.interactivity = Some(seen);
                    section
                }
                Workload::EarlyResults => {
                    let (section, seen) = early_results::conduct(&mut stage)?;
                    measured.early_results = Some(seen);
                    section
                }
                Workload::Control => {
                    let (section, seen) = control::conduct(&mut stage)?;
                    measured.control = Some(seen);
                    section
                }
                Workload::Resources => {
                    let (section, seen) = resources::conduct(&mut stage)?;
                    measured.resources = Some(seen);
                    section
                }
                Workload::Server => {
                    let (section, seen) = server::conduct(&mut stage)?;
                    measured.server = Some(seen);
                    section
                }
            };
            if let Err(error) = report.workload(workload.name(), &section) {
                return quietly(Err(error));
            }
            wrong.extend(section.wrong.take().map(|why| format!("{}: {why}", workload.name())));
            parts.push((workload.name().to_string(), section.spans));
        }
        for aside in asides {
            report.title(aside.name, aside.about, aside.slides);
            let section = (aside.run)(flags);
            if let Err(error) = report.aside(aside.name, &section) {
                return quietly(Err(error));
            }
            wrong.extend(section.wrong.as_ref().map(|why| format!("{}: {why}", aside.name)));
            parts.push((aside.name.to_string(), section.spans.clone()));
            measured.asides.push((aside.name, section));
        }
        report.verdicts(&self.judge(&measured, everything || as_json));
        report.remarks();
        if let Some(file) = &flags.trace {
            std::fs::write(file, chrome_trace(&parts).to_string())
                .map_err(|error| Error::Failed(format!("{}: {error}", file.display())))?;
        }
        let printed = quietly(report.end());
        if wrong.is_empty() { printed } else { Err(Error::Failed(wrong.join("\n"))) }
    }

    /// All claims, or only those that what was run decides.
    fn judge(&self, measured: &Measurements, all: bool) -> Vec<Judged> {
        let judge = |Claim(number, seen): &Claim| {
            let read = matches!(seen, Seen::Read(_));
            let verdict = match seen.verdict(measured) {
                Some(verdict) if all || !read => verdict,
                None if all => Verdict::NotMeasurable("what decides it was not run".into()),
                _ => return None,
            };
            let mut texts = claims::ALL.iter();
            let text = texts.find(|text| text.id == *number).expect("the talk makes this claim");
            Some(Judged { text, verdict })
        };
        self.claims.iter().filter_map(judge).collect()
    }
}

/// Nobody reading any more (`| head`) is no failure; a full disk is one.
fn quietly(printed: io::Result<()>) -> Result<ExitCode, Error> {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Failed(format!("cannot print: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn complain(error: &Error) -> ExitCode {
    use std::io::Write;
    // Where stderr is closed there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "error: {error}");
    error.exit_code()
}
