//! The `main` of every program: reads the command line, runs what it asks for, prints, judges.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::claims;
use crate::cli::{Command, parse};
use crate::error::Error;
use crate::machine::Machine;
use crate::measure::context::Context;
use crate::measure::{resources, server};
use crate::registry::{
    Aside, COMMON_CLAIMS, Claim, Flags, Measurements, Output, WORKLOADS, Workload,
};
use crate::report::json::Document;
use crate::report::print::Report;
use crate::report::section::Expectation;
use crate::report::trace::chrome_trace;
use crate::report::verdict::{Judged, Verdict};
use crate::span::Span;
use crate::style::Style;

/// Runs the program: `styles` is one, or one for each event loop. `asides` are its own. It judges
/// `claims` besides those of every style.
pub fn main(styles: &[Style], asides: &'static [Aside], claims: &'static [Claim]) -> ExitCode {
    let machine = Machine::look();
    let run = || {
        let (command, flags, style) = parse(styles, asides, &machine)?;
        let program = Program { styles, style, asides, claims };
        program.run(&command, &flags, machine)
    };
    run().unwrap_or_else(|error| complain(&error))
}

struct Program<'a> {
    styles: &'a [Style],
    /// The selected style.
    style: &'a Style,
    asides: &'static [Aside],
    claims: &'static [Claim],
}

impl Program<'_> {
    fn run(&self, command: &Command, flags: &Flags, machine: Machine) -> Result<ExitCode, Error> {
        match command {
            Command::List => self.list(),
            Command::Site { port } => Ok(crate::partner::site::program::main(*port)),
            Command::Load(load) => Ok(crate::partner::load::main(load)),
            Command::MeasureMemory(run) => Ok(resources::measure_memory(self.style, run)),
            Command::Serve(args) => {
                let mut machine = machine;
                flags.shared.cores.map_or(Ok(()), |cores| machine.use_cores(cores as usize))?;
                server::serve(self.style, args, flags.shared.quiet)
            }
            Command::All => self.run_all(&WORKLOADS, self.asides, flags, machine),
            Command::Workload(workload) => {
                self.run_all(std::slice::from_ref(workload), &[], flags, machine)
            }
            Command::Aside(aside) => self.run_all(&[], std::slice::from_ref(aside), flags, machine),
        }
    }

    fn list(&self) -> Result<ExitCode, Error> {
        let workloads = WORKLOADS.iter().map(|w| (w.name, w.about, w.slides));
        let serve = [("serve", "serve pages until Ctrl-C", "28, 31, 34")];
        let asides = self.asides.iter().map(|a| (a.name, a.about, a.slides));
        let rows: Vec<_> = [("command", "what it shows", "slides")]
            .into_iter()
            .chain(workloads)
            .chain(serve)
            .chain(asides)
            .collect();
        let wide = |column: fn(&(&str, &str, &str)) -> usize| rows.iter().map(column).max();
        let (name, about) = (wide(|row| row.0.len()), wide(|row| row.1.len()));
        let slides = wide(|row| row.2.len()).unwrap_or(0);
        // If a line would be longer than 80 columns, its slides move to the right.
        let name = name.unwrap_or(0);
        let about = about.unwrap_or(0).min(80_usize.saturating_sub(name + slides + 4));
        let mut out = io::stdout().lock();
        quietly(
            rows.iter().try_for_each(|row| {
                writeln!(out, "{:<name$}  {:<about$}  {}", row.0, row.1, row.2)
            }),
        )
    }

    /// Runs workloads and asides one after the other, then judges the claims they decide.
    fn run_all(
        &self,
        workloads: &[Workload],
        asides: &[Aside],
        flags: &Flags,
        mut machine: Machine,
    ) -> Result<ExitCode, Error> {
        let everything = workloads.len() + asides.len() > 1;
        let as_json = flags.shared.format == Output::Json;
        let repeat = flags.shared.repeat as usize;
        let mut context = Context::new(self.style, self.styles, machine, repeat);
        if flags.shared.cores.is_some() && !workloads.is_empty() {
            // The site is no part of the style: it keeps all cores.
            context.site()?;
        }
        if let Some(cores) = flags.shared.cores {
            machine.use_cores(cores as usize)?;
            context.machine = machine;
        }
        let trace = flags.shared.trace.as_deref().map(|file| open(file)).transpose()?;
        let mut report = Report {
            quiet: flags.shared.quiet,
            answers: flags.shared.answers,
            several: everything,
            document: as_json.then(Document::default),
        };
        let mut measured = Measurements::default();
        let mut parts: Vec<(String, Vec<Span>)> = Vec::new();
        let (mut wrong, mut failed) = (Vec::new(), Vec::new());
        let name = |part: &str| format!("{} · {part}", self.style.name);
        for workload in workloads {
            report.title(workload.name, &(workload.title)(flags), workload.slides);
            let mut section = (workload.run)(&mut context, flags, &mut measured)?;
            if let Err(error) = report.workload(workload.name, workload.slides, &section) {
                return quietly(Err(error));
            }
            wrong.extend(section.wrong.take().map(|why| format!("{}: {why}", workload.name)));
            failed.extend(section.expectation.and_then(|expectation| {
                let Expectation { says, verdict } = expectation;
                verdict.fails().then(|| format!("{}: {says}", workload.name))
            }));
            parts.push((name(workload.name), section.spans));
        }
        for aside in asides {
            report.title(aside.name, aside.about, aside.slides);
            let section = (aside.run)(flags);
            if let Err(error) = report.aside(aside.name, aside.slides, &section) {
                return quietly(Err(error));
            }
            wrong.extend(section.wrong.as_ref().map(|why| format!("{}: {why}", aside.name)));
            parts.push((name(aside.name), section.spans.clone()));
            measured.asides.push((aside.name, section));
        }
        let judged = self.judge(&measured, everything || as_json);
        let claims = judged.iter().filter(|judged| judged.verdict.fails());
        failed.extend(claims.map(|Judged { text, .. }| format!("{}: {}", text.id, text.says)));
        report.verdicts(&judged, "what the talk claims, judged by this run");
        report.remarks();
        if let Some((mut file, path)) = trace {
            if parts.iter().all(|(_, spans)| spans.is_empty()) {
                return Err(Error::Usage("--trace: nothing of this is traced".into()));
            }
            write!(file, "{}", chrome_trace(&parts)).map_err(|error| cannot_write(path, &error))?;
            report.note(&format!("trace: {}, for https://ui.perfetto.dev", path.display()));
        }
        let printed = quietly(report.end(self.style.program, self.style.name, &machine));
        if flags.shared.check {
            wrong.extend(failed.into_iter().map(|what| format!("does not hold: {what}")));
        }
        if wrong.is_empty() { printed } else { Err(Error::Failed(wrong.join("\n"))) }
    }

    /// All claims, or only those that this run decides.
    fn judge(&self, measured: &Measurements, all: bool) -> Vec<Judged> {
        let judge = |Claim(number, judge): &Claim| {
            let verdict = match judge(measured) {
                Some(Verdict::ReadIt(_)) if !all => return None,
                Some(verdict) => verdict,
                None if all => Verdict::NotRun,
                None => return None,
            };
            let mut texts = claims::ALL.iter();
            let text = texts.find(|text| text.id == *number).expect("the talk makes this claim");
            Some(Judged { text, verdict })
        };
        COMMON_CLAIMS.iter().chain(self.claims).filter_map(judge).collect()
    }
}

/// Opens a file for writing, before anything is run.
fn open(path: &Path) -> Result<(File, &Path), Error> {
    let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
    Ok((file, path))
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::Failed(format!("{}: {error}", path.display()))
}

/// A closed pipe (`| head`) is no failure; a full disk is one.
fn quietly(printed: io::Result<()>) -> Result<ExitCode, Error> {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Failed(format!("cannot print: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn complain(error: &Error) -> ExitCode {
    // If stderr is closed, the message cannot be shown.
    let _ = writeln!(anstream::stderr(), "error: {error}");
    error.exit_code()
}
