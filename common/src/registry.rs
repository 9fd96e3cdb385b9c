//! The table of workloads: a row each here, in [`Flags`] and in [`Measurements`]. Nothing else
//! names them by hand.

use std::ops::Deref;
use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, ValueEnum};

use crate::error::Error;
use crate::machine::Machine;
use crate::measure::context::Context;
use crate::measure::{
    cpu_bound, deadline, early_results, interactivity, io_bound, ordering, pause, resources,
    server, shared_state,
};
use crate::report::section::Section;
use crate::report::verdict::Verdict;
use crate::style::Style;

/// A workload of the talk.
pub struct Workload {
    /// Its command.
    pub name: &'static str,
    pub slides: &'static str,
    /// Its line in the list of commands.
    pub about: &'static str,
    /// Adds its flags to its command.
    pub args: fn(Command) -> Command,
    /// Reads the flags given.
    pub read: fn(&mut Flags, &ArgMatches) -> Result<(), clap::Error>,
    /// What this run of it is about, in numbers.
    pub title: fn(&Flags) -> String,
    /// Whether the style and the machine can hold what the flags ask for.
    pub check: fn(&mut Flags, &Style, &Machine) -> Result<(), Error>,
    /// Runs it, and keeps what it showed.
    pub run: fn(&mut Context, &Flags, &mut Measurements) -> Result<Section, Error>,
}

/// All workloads, in the talk's order.
pub static WORKLOADS: [Workload; 10] = [
    Workload {
        name: "io-bound",
        slides: "3, 7-8, 17, 28",
        about: "fetch pages, all at once",
        args: io_bound::Args::augment_args,
        read: |flags, given| flags.io_bound.read(given),
        title: |flags| flags.io_bound.title(),
        check: |flags, style, machine| flags.io_bound.0.check(style, machine),
        run: |context, flags, seen| {
            keep(&mut seen.io_bound, io_bound::run(context, &flags.io_bound))
        },
    },
    Workload {
        name: "cpu-bound",
        slides: "3, 9-11, 18-20, 24-26",
        about: "count primes, all at once",
        args: cpu_bound::Args::augment_args,
        read: |flags, given| flags.cpu_bound.read(given),
        title: |flags| flags.cpu_bound.title(),
        check: |flags, style, _| flags.cpu_bound.check(style),
        run: |context, flags, seen| {
            keep(&mut seen.cpu_bound, cpu_bound::run(context, &flags.cpu_bound))
        },
    },
    Workload {
        name: "ordering",
        slides: "6, 16, 22",
        about: "in which order tasks run, run after run",
        args: ordering::Args::augment_args,
        read: |flags, given| flags.ordering.read(given),
        title: |flags| flags.ordering.title(),
        check: |_, _, _| Ok(()),
        run: |context, flags, seen| {
            keep(&mut seen.ordering, ordering::run(context, &flags.ordering))
        },
    },
    Workload {
        name: "shared-state",
        slides: "15, 21",
        about: "move money between the same accounts",
        args: shared_state::Args::augment_args,
        read: |flags, given| flags.shared_state.read(given),
        title: |flags| flags.shared_state.title(),
        check: |flags, style, _| flags.shared_state.check(style),
        run: |context, flags, seen| {
            keep(&mut seen.shared_state, shared_state::run(context, &flags.shared_state))
        },
    },
    Workload {
        name: "interactivity",
        slides: "15, 28, 33",
        about: "a heart beats while another task computes",
        args: interactivity::Args::augment_args,
        read: |flags, given| flags.interactivity.read(given),
        title: |flags| flags.interactivity.title(),
        check: |_, _, _| Ok(()),
        run: |context, flags, seen| {
            keep(&mut seen.interactivity, interactivity::run(context, &flags.interactivity))
        },
    },
    Workload {
        name: "early-results",
        slides: "27",
        about: "take pages as they come, cancel the rest",
        args: early_results::Args::augment_args,
        read: |flags, given| flags.early_results.read(given),
        title: |flags| flags.early_results.title(),
        check: |flags, style, _| flags.early_results.check(style),
        run: |context, flags, seen| {
            keep(&mut seen.early_results, early_results::run(context, &flags.early_results))
        },
    },
    Workload {
        name: "deadline",
        slides: "27",
        about: "all pages, or those that arrive in time",
        args: deadline::Args::augment_args,
        read: |flags, given| flags.deadline.read(given),
        title: |flags| flags.deadline.title(),
        check: |flags, _, _| flags.deadline.check(),
        run: |context, flags, seen| {
            keep(&mut seen.deadline, deadline::run(context, &flags.deadline))
        },
    },
    Workload {
        name: "pause",
        slides: "27",
        about: "pause a producer, resume it, stop it",
        args: pause::Args::augment_args,
        read: |flags, given| flags.pause.read(given),
        title: |flags| flags.pause.title(),
        check: |_, _, _| Ok(()),
        run: |context, flags, seen| keep(&mut seen.pause, pause::run(context, &flags.pause)),
    },
    Workload {
        name: "resources",
        slides: "21",
        about: "what a task costs: memory, start, switch",
        args: resources::Args::augment_args,
        read: |flags, given| flags.resources.read(given),
        title: |flags| flags.resources.title(),
        check: |flags, style, _| flags.resources.0.check(style),
        run: |context, flags, seen| {
            keep(&mut seen.resources, resources::run(context, &flags.resources))
        },
    },
    Workload {
        name: "server",
        slides: "28, 31, 34",
        about: "answer many clients, all at once",
        args: server::Args::augment_args,
        read: |flags, given| flags.server.read(given),
        title: |flags| flags.server.title(),
        check: |flags, style, machine| flags.server.check(style, machine),
        run: |context, flags, seen| keep(&mut seen.server, server::run(context, &flags.server)),
    },
];

/// All flags, those not given at their defaults.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub shared: Own<Shared>,
    /// Where an aside that people can talk to listens.
    pub port: Option<u16>,
    pub io_bound: Own<io_bound::Args>,
    pub cpu_bound: Own<cpu_bound::Args>,
    pub ordering: Own<ordering::Args>,
    pub shared_state: Own<shared_state::Args>,
    pub interactivity: Own<interactivity::Args>,
    pub early_results: Own<early_results::Args>,
    pub deadline: Own<deadline::Args>,
    pub pause: Own<pause::Args>,
    pub resources: Own<resources::Args>,
    pub server: Own<server::Args>,
}

/// The flags of all commands.
#[derive(Clone, Debug, clap::Args)]
pub struct Shared {
    /// Print the answers only
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Print all lines of the answers, on a terminal too
    #[arg(long, global = true)]
    pub answers: bool,
    /// How the report looks: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub format: Output,
    /// Write what ran when, for ui.perfetto.dev
    #[arg(long, global = true, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Use only N cores
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub cores: Option<u64>,
    /// Exit 1 if something that is judged does not hold
    #[arg(long, global = true)]
    pub check: bool,
    /// Run each N times: median and spread
    #[arg(long, global = true, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub repeat: u64,
}

/// How the report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Answers on stdout, what was measured on stderr
    Text,
    /// One document on stdout, nothing else
    Json,
}

/// Flags of one kind, at their defaults until they are read.
#[derive(Clone, Debug)]
pub struct Own<A>(pub A);

impl<A: Args> Own<A> {
    /// Takes the flags given.
    ///
    /// # Errors
    ///
    /// One of them has a wrong value.
    pub fn read(&mut self, given: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = A::from_arg_matches(given)?;
        Ok(())
    }
}

impl<A: Args> Default for Own<A> {
    fn default() -> Own<A> {
        let defaults = A::augment_args(Command::new("defaults")).get_matches_from(["defaults"]);
        Own(A::from_arg_matches(&defaults).expect("every flag may be left out"))
    }
}

impl<A> Deref for Own<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

/// What has been measured so far in this run.
#[derive(Default)]
pub struct Measurements {
    pub io_bound: Option<io_bound::Measured>,
    pub cpu_bound: Option<cpu_bound::Measured>,
    pub ordering: Option<ordering::Measured>,
    pub shared_state: Option<shared_state::Measured>,
    pub interactivity: Option<interactivity::Measured>,
    pub early_results: Option<early_results::Measured>,
    pub deadline: Option<deadline::Measured>,
    pub pause: Option<pause::Measured>,
    pub resources: Option<resources::Measured>,
    pub server: Option<server::Measured>,
    pub asides: Vec<(&'static str, Section)>,
}

impl Measurements {
    /// What the aside of this name showed, if it was run.
    pub fn aside(&self, name: &str) -> Option<&Section> {
        self.asides.iter().find(|(run, _)| *run == name).map(|(_, section)| section)
    }
}

fn keep<M>(place: &mut Option<M>, ran: Result<(Section, M), Error>) -> Result<Section, Error> {
    let (section, measured) = ran?;
    *place = Some(measured);
    Ok(section)
}

/// A claim of the talk, by its number, and its judge: `None` if what decides it was not run.
pub struct Claim(pub &'static str, pub fn(&Measurements) -> Option<Verdict>);

/// What every style decides.
pub const COMMON_CLAIMS: [Claim; 2] = [
    Claim("C1", |m| {
        Some(cpu_bound::more_under_way_than_cores(m.io_bound.as_ref()?, m.cpu_bound.as_ref()?))
    }),
    Claim("C2", |m| {
        Some(cpu_bound::baselines_are_sums(m.io_bound.as_ref()?, m.cpu_bound.as_ref()?))
    }),
];

/// No number decides a claim: the file and function to look at.
pub fn read_it(place: &str) -> Option<Verdict> {
    Some(Verdict::ReadIt(place.to_string()))
}

/// What only one style has.
pub struct Aside {
    /// Its command.
    pub name: &'static str,
    pub slides: &'static str,
    pub about: &'static str,
    pub run: fn(&Flags) -> Section,
    /// Whether it takes a port to listen on, so that people can connect.
    pub listens: bool,
}

impl Aside {
    pub const fn new(
        name: &'static str,
        slides: &'static str,
        about: &'static str,
        run: fn(&Flags) -> Section,
    ) -> Aside {
        Aside { name, slides, about, run, listens: false }
    }

    /// The same, with a port that people can connect to.
    #[must_use]
    pub const fn with_port(self) -> Aside {
        Aside { listens: true, ..self }
    }
}
