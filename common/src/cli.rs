//! The command line of every program: clap's commands, and what they ask for.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches as _};

use crate::error::Error;
use crate::machine::Machine;
use crate::measure::resources::MeasureMemory;
use crate::measure::server::ServeArgs;
use crate::partner::load::Load;
use crate::registry::{Aside, Flags, Shared, WORKLOADS, Workload};
use crate::style::Style;

/// What to do.
pub enum Command {
    /// Everything, in the talk's order.
    All,
    Workload(&'static Workload),
    Aside(&'static Aside),
    List,
    /// The partner, as a child, or by hand on a port.
    Site {
        port: Option<u16>,
    },
    /// The clients of a server, as a child or by hand.
    Load(Load),
    /// One run of `resources`, as a child.
    MeasureMemory(MeasureMemory),
    /// The style's server, until a signal ends it.
    Serve(ServeArgs),
}

/// The flags of all commands; some commands take only some of them.
const SHARED: [&str; 7] = ["quiet", "answers", "format", "trace", "cores", "check", "repeat"];

/// Reads the command line; prints help, or clap's own message, and exits if it must.
///
/// # Errors
///
/// A size beyond what the style or the machine can hold, or a URL that cannot be used.
pub fn parse<'a>(
    styles: &'a [Style],
    asides: &'static [Aside],
    machine: &Machine,
) -> Result<(Command, Flags, &'a Style), Error> {
    let matches = clap_command(styles, asides).get_matches();
    let chosen = matches.try_get_one::<String>("loop").ok().flatten();
    let style = match chosen {
        None => &styles[0],
        Some(name) => {
            let mut named = styles.iter().filter(|style| style.event_loop == Some(name));
            named.next().expect("clap allows no other value")
        }
    };
    let (mut flags, command) = match read(&matches, asides) {
        Ok(read) => read,
        Err(error) => error.exit(),
    };
    let allowed: &[&str] = match command {
        Command::All | Command::Workload(_) => &SHARED,
        Command::Aside(_) => &["quiet", "answers", "format", "trace", "cores", "check"],
        Command::Serve { .. } => &["quiet", "cores"],
        _ => &[],
    };
    let (name, given) = matches.subcommand().unwrap_or(("", &matches));
    let is_given = |flag: &&&str| given.value_source(flag) == Some(ValueSource::CommandLine);
    if let Some(flag) = SHARED.iter().filter(is_given).find(|flag| !allowed.contains(flag)) {
        return Err(Error::Usage(format!("--{flag}: not for the command {name}")));
    }
    if let Some(cores) = flags.shared.cores.filter(|&n| n as usize > machine.cores) {
        let have = machine.cores;
        return Err(Error::Usage(format!("--cores {cores}: this program may use {have}")));
    }
    match command {
        Command::All => {
            WORKLOADS.iter().try_for_each(|w| (w.check)(&mut flags, style, machine))?;
        }
        Command::Workload(workload) => (workload.check)(&mut flags, style, machine)?,
        _ => {}
    }
    Ok((command, flags, style))
}

fn read(matches: &ArgMatches, asides: &'static [Aside]) -> Result<(Flags, Command), clap::Error> {
    let mut flags = Flags::default();
    flags.shared.read(matches)?;
    let Some((name, given)) = matches.subcommand() else {
        return Ok((flags, Command::All));
    };
    let port: Option<u16> = given.try_get_one("port").ok().flatten().copied();
    let command = match name {
        "list" => Command::List,
        "site" => Command::Site { port },
        "serve" => Command::Serve(ServeArgs::from_arg_matches(given)?),
        "load" => Command::Load(Load::from_arg_matches(given)?),
        "measure-memory" => Command::MeasureMemory(MeasureMemory::from_arg_matches(given)?),
        name => {
            if let Some(workload) = WORKLOADS.iter().find(|workload| workload.name == name) {
                (workload.read)(&mut flags, given)?;
                Command::Workload(workload)
            } else {
                flags.port = port;
                let mut named = asides.iter().filter(|aside| aside.name == name);
                Command::Aside(named.next().expect("clap knows no other commands"))
            }
        }
    };
    Ok((flags, command))
}

fn clap_command(styles: &[Style], asides: &[Aside]) -> clap::Command {
    use clap::Args as _;
    let Style { program, slides, .. } = styles[0];
    let mut clap = Shared::augment_args(clap::Command::new(program))
        .about(format!("Concurrency in Rust, told with {program}: slides {slides}"))
        .after_help("Without a command: everything, in the talk's order, then the verdicts.")
        .version(env!("CARGO_PKG_VERSION"));
    if styles.len() > 1 {
        let loops: Vec<&str> = styles.iter().filter_map(|style| style.event_loop).collect();
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
    for workload in &WORKLOADS {
        let sub = (workload.args)(clap::Command::new(workload.name));
        clap = clap.subcommand(sub.about(workload.about).long_about(None));
    }
    let port = Arg::new("port")
        .long("port")
        .help("Listen on this port of 127.0.0.1")
        .value_name("PORT")
        .value_parser(clap::value_parser!(u16));
    for aside in asides {
        let sub = clap::Command::new(aside.name).about(aside.about);
        clap = clap.subcommand(if aside.listens { sub.arg(port.clone()) } else { sub });
    }
    let serve = ServeArgs::augment_args(clap::Command::new("serve"));
    let serve = serve.about("Serve pages until Ctrl-C").long_about(None);
    let load = clap::Command::new("load").about("Clients that try a server").hide(true);
    let memory = clap::Command::new("measure-memory").about("One run of resources").hide(true);
    clap.subcommand(clap::Command::new("list").about("Say what there is, a line each"))
        .subcommand(serve)
        .subcommand(clap::Command::new("site").about("The web site").hide(true).arg(port))
        .subcommand(Load::augment_args(load))
        .subcommand(MeasureMemory::augment_args(memory))
}
