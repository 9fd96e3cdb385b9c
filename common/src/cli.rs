//! Every flag of every program, its limits and its messages; names are resolved before
//! anything runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args as _, FromArgMatches as _, ValueEnum};

use crate::Error;
use crate::chapter::{Chapter, Workload};
use crate::load::Load;
use crate::machine::Machine;
use crate::workload::io_bound::Job;
use crate::workload::resources::Weigh;
use crate::workload::{
    control, cpu_bound, early_results, interactivity, io_bound, ordering, resources, server,
    shared_state,
};

/// What to do.
pub enum Command {
    /// Everything, in the talk's order.
    All,
    Workload(Workload),
    /// The aside of this name.
    Aside(String),
    List,
    /// The partner, as a child, or by hand on a port.
    Site {
        port: Option<u16>,
    },
    /// The clients of a server, as a child or by hand.
    Load(Load),
    /// One run of `resources`, as a child.
    Weigh(Weigh),
    /// The style's server, until a signal ends it.
    Serve {
        port: u16,
    },
}

/// All flags, those not given at their defaults.
#[derive(Clone, Debug)]
pub struct Flags {
    pub quiet: bool,
    pub format: Output,
    pub trace: Option<PathBuf>,
    pub cores: Option<usize>,
    pub repeat: usize,
    pub io_bound: io_bound::Args,
    /// The jobs for the URLs given, their names resolved.
    pub jobs: Vec<Job>,
    pub cpu_bound: cpu_bound::Args,
    /// Where an aside that can be talked to is to listen.
    pub port: Option<u16>,
    pub ordering: ordering::Args,
    pub shared_state: shared_state::Args,
    pub interactivity: interactivity::Args,
    pub early_results: early_results::Args,
    pub control: control::Args,
    pub resources: resources::Args,
    /// The names of all loops that the style comes on.
    pub loops: Vec<&'static str>,
    pub server: server::Args,
}

/// How the report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Answers on stdout, what was measured on stderr
    Text,
    /// One document on stdout, nothing else
    Json,
}

/// The flags of all programs.
#[derive(Clone, Debug, clap::Args)]
struct Shared {
    /// Print the answers only
    #[arg(long, global = true)]
    quiet: bool,
    /// How the report looks: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    format: Output,
    /// Write what ran when, for ui.perfetto.dev
    #[arg(long, global = true, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Use only N cores
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cores: Option<u64>,
    /// Run each N times: median and spread
    #[arg(long, global = true, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    repeat: u64,
}

/// Reads a time such as `50ms` or `1.5s`.
///
/// # Errors
///
/// It is no time, or longer than a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        _ => return Err("a time needs a unit: 50ms, 1.5s".into()),
    };
    let number: f64 = number.parse().map_err(|_| "not a number; try 50ms or 1.5s")?;
    let seconds = number * scale;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("between 0s and one day".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads the command line; prints help, or clap's own message, and leaves if it must.
///
/// # Errors
///
/// A size beyond what the style or the machine can hold, or a URL that cannot be used.
pub fn parse<'a>(
    chapters: &'a [Chapter],
    machine: &Machine,
) -> Result<(Command, Flags, &'a Chapter), Error> {
    let mut clap = clap_command(chapters);
    let matches = clap.get_matches_mut();
    let chosen = matches.try_get_one::<String>("loop").ok().flatten();
    let chapter = match chosen {
        None => &chapters[0],
        Some(name) => {
            let mut named = chapters.iter().filter(|c| c.event_loop == Some(name));
            named.next().expect("clap allows no other value")
        }
    };
    let (name, sub) = matches.subcommand().unzip();
    let mut flags = match flags(&matches, name, sub) {
        Ok(flags) => flags,
        Err(error) => error.exit(),
    };
    let workload = Workload::ALL.into_iter().find(|w| Some(w.name()) == name);
    let command = match (name, workload) {
        (None, _) => Command::All,
        (_, Some(workload)) => Command::Workload(workload),
        (Some("list"), _) => Command::List,
        (Some("site"), _) => Command::Site { port: sub.and_then(port) },
        (Some("serve"), _) => {
            Command::Serve { port: sub.and_then(port).expect("it has a default") }
        }
        (Some("load"), _) => {
            let load = sub.map(Load::from_arg_matches).and_then(Result::ok);
            Command::Load(load.expect("clap has checked it"))
        }
        (Some("weigh"), _) => {
            let weigh = sub.map(Weigh::from_arg_matches).and_then(Result::ok);
            Command::Weigh(weigh.expect("clap has checked it"))
        }
        (Some(aside), _) => Command::Aside(aside.to_string()),
    };
    flags.resources.tasks.get_or_insert(chapter.idle_tasks);
    check(&command, &flags, chapter, machine)?;
    flags.jobs = flags.io_bound.given_jobs()?;
    flags.loops = chapters.iter().filter_map(|c| c.event_loop).collect();
    Ok((command, flags, chapter))
}

fn check(
    command: &Command,
    flags: &Flags,
    chapter: &Chapter,
    machine: &Machine,
) -> Result<(), Error> {
    let style = chapter.style;
    let runs = |workload| match command {
        Command::All => true,
        Command::Workload(named) => *named == workload,
        _ => false,
    };
    let beyond = |what: String, limit: usize| {
        Err(Error::Usage(format!("{what}: {style} holds {limit} at once (use --at-once)")))
    };
    let pages = if runs(Workload::IoBound) { flags.io_bound.at_once() } else { 0 };
    if pages > chapter.at_most {
        return beyond(format!("{pages} pages"), chapter.at_most);
    }
    // Every page needs a descriptor here and one at the site; the rest is for everything else.
    let room = machine.descriptors.saturating_sub(64) as usize;
    if pages > room {
        return beyond(format!("{pages} pages, one descriptor each"), room);
    }
    let sizes = [
        (flags.cpu_bound.tasks, "tasks"),
        (flags.early_results.pages, "pages"),
        (flags.resources.tasks.unwrap_or(0), "tasks"),
        (flags.resources.ring, "tasks"),
    ];
    let limit = chapter.at_most;
    if let Some((n, things)) = sizes.into_iter().find(|(n, _)| *n as usize > limit) {
        return Err(Error::Usage(format!("{n} {things}: {style} holds {limit} at once")));
    }
    flags.control.check()?;
    let connections = flags.server.connections as usize;
    if runs(Workload::Server) && connections > chapter.max_connections.min(room) {
        let limit = chapter.max_connections.min(room);
        let what = format!("{connections} connections, one descriptor each");
        return Err(Error::Usage(format!("{what}: {style} holds {limit} at once")));
    }
    if let Some(cores) = flags.cores.filter(|&n| n > machine.cores) {
        let have = machine.cores;
        return Err(Error::Usage(format!("--cores {cores}: this program may use {have}")));
    }
    Ok(())
}

fn flags(
    matches: &ArgMatches,
    name: Option<&str>,
    sub: Option<&ArgMatches>,
) -> Result<Flags, clap::Error> {
    let shared = Shared::from_arg_matches(matches)?;
    Ok(Flags {
        quiet: shared.quiet,
        format: shared.format,
        trace: shared.trace,
        cores: shared.cores.map(|n| n as usize),
        repeat: shared.repeat as usize,
        io_bound: args(name, sub, Workload::IoBound)?,
        jobs: Vec::new(),
        cpu_bound: args(name, sub, Workload::CpuBound)?,
        ordering: args(name, sub, Workload::Ordering)?,
        shared_state: args(name, sub, Workload::SharedState)?,
        interactivity: args(name, sub, Workload::Interactivity)?,
        early_results: args(name, sub, Workload::EarlyResults)?,
        control: args(name, sub, Workload::Control)?,
        resources: args(name, sub, Workload::Resources)?,
        loops: Vec::new(),
        port: sub.and_then(port),
        server: args(name, sub, Workload::Server)?,
    })
}

/// The port given, to a command that takes one.
fn port(sub: &ArgMatches) -> Option<u16> {
    sub.try_get_one("port").ok().flatten().copied()
}

/// A workload's own flags: those given, if it was named, or the defaults.
fn args<A: clap::Args>(
    name: Option<&str>,
    sub: Option<&ArgMatches>,
    workload: Workload,
) -> Result<A, clap::Error> {
    match sub {
        Some(sub) if name == Some(workload.name()) => A::from_arg_matches(sub),
        _ => {
            let defaults = A::augment_args(clap::Command::new("defaults"));
            A::from_arg_matches(&defaults.try_get_matches_from(["defaults"])?)
        }
    }
}

fn clap_command(chapters: &[Chapter]) -> clap::Command {
    let chapter = &chapters[0];
    let mut clap = Shared::augment_args(clap::Command::new(chapter.style))
        .about(format!(
            "Concurrency in Rust, told with {}: slides {}",
            chapter.style, chapter.slides
        ))
        .after_help("Without a command: everything, in the talk's order, then the verdicts.")
        .disable_help_subcommand(true);
    if chapters.len() > 1 {
        let loops: Vec<&str> = chapters.iter().filter_map(|c| c.event_loop).collect();
        let arg = Arg::new("loop")
            .long("loop")
            .help(format!("Run on {}", loops.join(", ")))
            .value_name("LOOP")
            .default_value(loops[0])
            .value_parser(clap::builder::PossibleValuesParser::new(loops))
            .hide_possible_values(true)
            .global(true);
        clap = clap.arg(arg);
    }
    for workload in Workload::ALL {
        let sub = clap::Command::new(workload.name());
        let sub = match workload {
            Workload::IoBound => io_bound::Args::augment_args(sub),
            Workload::CpuBound => cpu_bound::Args::augment_args(sub),
            Workload::Ordering => ordering::Args::augment_args(sub),
            Workload::SharedState => shared_state::Args::augment_args(sub),
            Workload::Interactivity => interactivity::Args::augment_args(sub),
            Workload::EarlyResults => early_results::Args::augment_args(sub),
            Workload::Control => control::Args::augment_args(sub),
            Workload::Resources => resources::Args::augment_args(sub),
            Workload::Server => server::Args::augment_args(sub),
        };
        clap = clap.subcommand(sub.about(workload.about()));
    }
    let port = Arg::new("port")
        .long("port")
        .help("Listen on this port of 127.0.0.1")
        .value_name("PORT")
        .value_parser(clap::value_parser!(u16));
    for aside in chapter.asides {
        let sub = clap::Command::new(aside.name).about(aside.about);
        clap = clap.subcommand(if aside.listens() { sub.arg(port.clone()) } else { sub });
    }
    let own_port = port.clone().default_value("8000");
    let serve = clap::Command::new("serve").about("Serve pages until Ctrl-C").arg(own_port);
    let load = clap::Command::new("load").about("Clients that try a server").hide(true);
    let load = Load::augment_args(load);
    let weigh = clap::Command::new("weigh").about("One run of resources").hide(true);
    let weigh = Weigh::augment_args(weigh);
    clap.subcommand(clap::Command::new("list").about("Say what there is, a line each"))
        .subcommand(serve)
        .subcommand(clap::Command::new("site").about("The web site").hide(true).arg(port))
        .subcommand(load)
        .subcommand(weigh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "50", "ms", "-1s", "2d", "1e9s", "nans", "infs", "5 parsecs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
