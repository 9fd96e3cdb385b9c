//! `compare`: all styles in one run, side by side: a table here, and one page with the code.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use ::tests::programs;
use ::tests::styles::{STYLES, Style};
use clap::{CommandFactory, Parser, ValueEnum};
use common::registry::WORKLOADS;

mod alignment;
mod badges;
mod code;
mod marks;
mod page;
#[cfg(test)]
mod pairs;
mod picture;
mod python;
mod python_source;
mod record;
mod run;
mod source;
mod table;
mod tokens;
mod waits;

use python::Interpreter;
use record::Record;

/// All styles in one run, side by side: a table here, and one page with the code
///
/// Flags of the workload are passed on: compare io-bound --pages 1000 --latency 100ms
#[derive(Parser)]
#[command(name = "compare", max_term_width = 80)]
struct Cli {
    /// One workload; without it all of them, at their default sizes
    workload: Option<String>,
    /// Show the code of two styles in this terminal, and run nothing
    #[arg(long, num_args = 2, value_names = ["LEFT", "RIGHT"], requires = "workload")]
    code: Vec<String>,
    /// Only these styles
    #[arg(long, value_name = "STYLE,STYLE", value_delimiter = ',')]
    styles: Vec<String>,
    /// Run each N times: median and spread
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    repeat: Option<u64>,
    /// Use only N cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cores: Option<u64>,
    /// Run the talk's Python as well, by this interpreter or by python3
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = python::DEFAULT)]
    python: Option<PathBuf>,
    /// How the table looks
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Where the page goes; otherwise target/compare.html
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw again from an earlier --format json, without running anything
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "repeat", "cores", "python"])]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Md,
    Csv,
    Json,
}

fn main() -> ExitCode {
    let (own, passed_on) = split(std::env::args().collect());
    let cli = Cli::parse_from(own);
    match compare(&cli, &passed_on) {
        Ok(code) => ExitCode::from(code),
        Err(Problem::Usage(why)) => complain(&why, 2),
        Err(Problem::Failed(why)) => complain(&why, 1),
    }
}

/// Why nothing is printed.
pub enum Problem {
    Usage(String),
    Failed(String),
}

fn complain(why: &str, code: u8) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(code)
}

fn failed(what: &str, error: impl std::fmt::Display) -> Problem {
    Problem::Failed(format!("{what}: {error}"))
}

/// Parts the arguments: our own, and what the programs get.
fn split(args: Vec<String>) -> (Vec<String>, Vec<String>) {
    let command = Cli::command();
    let values = |flag: &str| -> Option<usize> {
        let (name, attached) = flag.split_once('=').map_or((flag, 0), |(name, _)| (name, 1));
        let name = name.strip_prefix("--")?;
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name))?;
        let values = arg.get_num_args().map_or(1, |range| range.max_values());
        Some(values.saturating_sub(attached))
    };
    let is_workload = |name: &str| WORKLOADS.iter().any(|workload| workload.name == name);
    let mut args = args.into_iter().peekable();
    let mut own: Vec<String> = args.by_ref().take(1).collect();
    let mut passed_on = Vec::new();
    let mut named = false;
    while let Some(arg) = args.next() {
        if ["-h", "--help"].contains(&arg.as_str()) {
            own.push(arg);
        } else if arg == "--python" {
            // Its value may be left out, and then a flag follows it, or the workload.
            let is_path = |next: &String| !next.starts_with('-') && !is_workload(next);
            let path = args.next_if(is_path).unwrap_or(python::DEFAULT.into());
            own.push(format!("--python={path}"));
        } else if let Some(values) = values(&arg) {
            own.push(arg);
            own.extend(args.by_ref().take(values));
        } else if !named && !arg.starts_with('-') {
            named = true;
            own.push(arg);
        } else {
            passed_on.push(arg);
        }
    }
    (own, passed_on)
}

fn compare(cli: &Cli, passed_on: &[String]) -> Result<u8, Problem> {
    let workloads: Vec<&str> = match &cli.workload {
        None => WORKLOADS.iter().map(|workload| workload.name).collect(),
        Some(name) => {
            let known = WORKLOADS.iter().find(|workload| workload.name == name);
            let all: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
            let unknown = || format!("no workload {name}; there are {}", all.join(", "));
            vec![known.ok_or_else(|| Problem::Usage(unknown()))?.name]
        }
    };
    if let [left, right] = &cli.code[..] {
        return show_code(style(left)?, style(right)?, workloads[0]);
    }
    for flag in passed_on {
        let name = flag.split('=').next().unwrap_or_default();
        if ["--quiet", "--trace", "--loop", "--check"].contains(&name) {
            return Err(Problem::Usage(format!("{flag} is for one program, not for all of them")));
        }
    }
    if workloads.len() > 1 && !passed_on.is_empty() {
        let why = format!("{} belongs to one workload: which one?", passed_on[0]);
        return Err(Problem::Usage(why));
    }
    let styles = chosen(&cli.styles)?;
    let record = if let Some(file) = &cli.from {
        read(file, &cli.styles)?
    } else {
        let mut flags = passed_on.to_vec();
        let own = [("--repeat", cli.repeat), ("--cores", cli.cores)];
        let own = own.into_iter().filter_map(|(name, n)| Some([name.into(), n?.to_string()]));
        flags.extend(own.flatten());
        let python = cli.python.clone().map(Interpreter::new).transpose()?;
        run::all(&workloads, &styles, flags, python.as_ref())
    };
    if let Some(why) = record.refused_by_all() {
        return Err(Problem::Usage(why));
    }
    let page = cli.html.clone().unwrap_or_else(|| programs::target().join("compare.html"));
    fs::write(&page, page::html(&record))
        .map_err(|error| failed(&page.display().to_string(), error))?;
    match print(&record, cli.format, &page) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.map_err(|error| failed("stdout", error))?,
    }
    Ok(if record.interrupted { 130 } else { u8::from(record.has_failures()) })
}

fn print(record: &Record, format: Format, page: &std::path::Path) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match format {
        Format::Json => writeln!(out, "{}", record.json())?,
        _ => write!(out, "{}", table::draw(record, format))?,
    }
    // With a document on stdout, nothing else may be there.
    if format == Format::Text {
        writeln!(out, "\n{}", page.display())
    } else {
        writeln!(io::stderr(), "{}", page.display())
    }
}

fn style(name: &str) -> Result<&'static Style, Problem> {
    let known = STYLES.iter().find(|style| style.name == name);
    let all = STYLES.map(|style| style.name).join(", ");
    known.ok_or_else(|| Problem::Usage(format!("no style {name}; there are {all}")))
}

/// The styles requested, each once, in that order.
fn chosen(names: &[String]) -> Result<Vec<&'static Style>, Problem> {
    if names.is_empty() {
        return Ok(STYLES.iter().collect());
    }
    let mut seen = BTreeSet::new();
    let new = names.iter().filter(|name| seen.insert(*name));
    new.map(|name| style(name)).collect()
}

fn read(file: &std::path::Path, styles: &[String]) -> Result<Record, Problem> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| failed(&name, error))?;
    let mut record = Record::parse(&text).map_err(|error| failed(&name, error))?;
    if !styles.is_empty() {
        let python = record.python.iter_mut().map(|python| &mut python.runs);
        for runs in python.chain([&mut record.runs]) {
            runs.retain(|run| styles.contains(&run.style));
        }
    }
    Ok(record)
}

fn show_code(left: &Style, right: &Style, workload: &str) -> Result<u8, Problem> {
    let read =
        |style: &Style| source::read(style, workload).map_err(|error| failed(style.name, error));
    let (one, other) = (read(left)?, read(right)?);
    let sides =
        [code::Side { style: left, source: &one }, code::Side { style: right, source: &other }];
    let aligned = alignment::align(&one, &other);
    let mut out = anstream::stdout().lock();
    for line in code::draw(&sides, &aligned, code::terminal_width()) {
        if writeln!(out, "{line}").is_err() {
            break; // the reader of stdout has gone
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(line: &str) -> (String, String) {
        let args = format!("compare {line}").split(' ').map(String::from).collect();
        let (own, passed_on) = split(args);
        (own[1..].join(" "), passed_on.join(" "))
    }

    #[test]
    fn a_workloads_flags_are_passed_on_from_any_place() {
        let (own, passed_on) = parted("io-bound --pages 1000 --repeat 5 --latency 100ms");
        assert_eq!(
            (own.as_str(), passed_on.as_str()),
            ("io-bound --repeat 5", "--pages 1000 --latency 100ms")
        );
        let (own, passed_on) = parted("--styles threads,on_tokio server --connections=5 --html=x");
        assert_eq!(
            (own.as_str(), passed_on.as_str()),
            ("--styles threads,on_tokio server --html=x", "--connections=5")
        );
        let (own, passed_on) = parted("--python io-bound --pages 9");
        assert_eq!((own.as_str(), passed_on.as_str()), ("--python=python3 io-bound", "--pages 9"));
        let (own, _) = parted("cpu-bound --python venv/bin/python --repeat 3");
        assert_eq!(own, "cpu-bound --python=venv/bin/python --repeat 3");
        let (own, passed_on) = parted("--code threads on_tokio io-bound");
        assert_eq!((own.as_str(), passed_on.as_str()), ("--code threads on_tokio io-bound", ""));
        let (own, passed_on) = parted("io-bound http://127.0.0.1/ --format md");
        assert_eq!(
            (own.as_str(), passed_on.as_str()),
            ("io-bound --format md", "http://127.0.0.1/")
        );
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
