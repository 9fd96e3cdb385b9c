//! server: answer many clients at the same time. Slides 28, 31, 34.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::error::Error;
use crate::limits::Limits;
use crate::machine::Machine;
use crate::measure::context::Context;
use crate::measure::io_bound;
use crate::partner::load::{Load, LoadReport};
use crate::partner::site::listener::listen;
use crate::report::bars::{Bar, bars};
use crate::report::section::Section;
use crate::report::stats::Times;
use crate::report::verdict::Verdict;
use crate::style::Style;
use crate::units::{duration, plural, time};
use crate::workload::server::ServerStats;

/// How many clients there are, and what they ask for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many clients keep a connection open
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub connections: u64,
    /// How many pages each of them asks for
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub requests: u64,
    /// How long the server delays each page
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = delay)]
    pub delay: Duration,
}

/// A delay that is shorter than the timeout of the clients.
fn delay(text: &str) -> Result<Duration, String> {
    let delay = duration(text)?;
    if delay > Duration::from_secs(5) { Err("between 0s and 5s".into()) } else { Ok(delay) }
}

impl Args {
    /// What is requested, in a few words.
    pub fn title(&self) -> String {
        let delay = match self.delay {
            Duration::ZERO => String::new(),
            delay => format!(", each after {}", time(delay)),
        };
        format!(
            "{}, {} on each{delay}",
            plural(self.connections as usize, "connection"),
            plural(self.requests as usize, "page")
        )
    }

    /// # Errors
    ///
    /// More connections than the style or the machine can hold.
    pub fn check(&self, style: &Style, machine: &Machine) -> Result<(), Error> {
        let limit = style.max_connections.min(machine.free_descriptors());
        let Args { connections, .. } = self;
        if *connections as usize <= limit {
            return Ok(());
        }
        let what = format!("{connections} connections, one descriptor each");
        Err(Error::Usage(format!("{what}: {} holds {limit} at once", style.program)))
    }

    fn load(&self, listener: &TcpListener) -> io::Result<Load> {
        Ok(Load {
            connections: self.connections as usize,
            requests: self.requests as usize,
            delay: self.delay.as_millis() as u64,
            ..Load::new(listener.local_addr()?)
        })
    }
}

/// What one or several runs showed.
pub struct Measured {
    /// Pages asked for in each run.
    pub pages: usize,
    pub connections: usize,
    /// How many of them the style holds open at once.
    pub max_connections: usize,
    /// The last run.
    pub server: ServerStats,
    pub loaded: LoadReport,
}

/// Runs the workload and says what it showed.
///
/// # Errors
///
/// The server ends with an error, or the load or the site cannot be started.
pub fn run(context: &mut Context, args: &Args) -> Result<(Section, Measured), Error> {
    let style = context.style;
    let pages = (args.connections * args.requests) as usize;
    let mut section = Section::default();
    let mut walls = Times::default();
    let mut last = None;
    for _ in 0..context.repeat {
        let limits = limits(style);
        let run = |listener, stop| section.watch(|| (style.server)(listener, stop, limits));
        let (server, loaded) = serve_load(run, |listener| args.load(listener))?;
        walls.seconds.push(loaded.wall_s);
        let LoadReport { right, errors, .. } = loaded;
        section.answers(vec![format!(
            "{}, {} asked for: {right} right, {errors} wrong",
            plural(args.connections as usize, "connection"),
            plural(pages, "page")
        )]);
        section.wrong = section.wrong.or_else(|| wrong(&server, &loaded));
        last = Some((server, loaded));
    }
    let (server, loaded) = last.expect("it runs at least once");
    let connections = args.connections as usize;
    let max_connections = context.style.max_connections;
    let measured = Measured { pages, connections, max_connections, server, loaded };
    let in_turn = in_turn(style, args)? * pages as f64;
    let limit = limit(context, args)?;
    describe(context, &mut section, &measured, &walls, (in_turn, limit));
    section.expect("many connections are open at once", many_at_once(&measured));
    Ok((section, measured))
}

/// Runs the style's server until the load is done.
fn serve_load(
    run: impl FnOnce(TcpListener, UnixStream) -> io::Result<ServerStats>,
    load: impl FnOnce(&TcpListener) -> io::Result<Load>,
) -> Result<(ServerStats, LoadReport), Error> {
    let listener = open(0)?;
    let load = load(&listener)?;
    let (stop, until) = UnixStream::pair()?;
    // The load has the only other end: when it ends, for any reason, the server stops.
    let load = load.start(OwnedFd::from(until))?;
    let server = run(listener, stop)?;
    Ok((server, load.join()?))
}

/// A listener for a style's server.
fn open(port: u16) -> io::Result<TcpListener> {
    let listener = listen(port)?;
    // On Linux, accepted sockets inherit this. Without it the last piece of a long page waits until
    // the client has acknowledged the piece before, which can take 40 ms.
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    Ok(listener)
}

fn wrong(server: &ServerStats, loaded: &LoadReport) -> Option<String> {
    if let Some(error) = &loaded.first_error {
        return Some(format!("{} pages were wrong: {error}", loaded.errors));
    }
    if server.pages != loaded.right as u64 {
        return Some(format!("{} pages came, and {} were sent", loaded.right, server.pages));
    }
    (server.open > 0).then(|| format!("{} connections were left open", server.open))
}

/// The load opens all its connections before it requests anything. On a busy machine that takes
/// longer than a server keeps a connection without a request.
fn limits(style: &Style) -> Limits {
    Limits { idle: Duration::from_mins(1), ..Limits::new(style.max_connections) }
}

/// One client that requests a few pages, one after the other: seconds per page.
fn in_turn(style: &Style, args: &Args) -> Result<f64, Error> {
    let requests = if args.delay.is_zero() { 100 } else { 4 };
    let few = Args { connections: 1, requests: requests.min(args.requests), ..args.clone() };
    let limits = limits(style);
    let run = |listener, stop| (style.server)(listener, stop, limits);
    let (_, loaded) = serve_load(run, |listener| few.load(listener))?;
    Ok(loaded.wall_s / loaded.right.max(1) as f64)
}

/// The same load on the site, which is a bare poll loop: seconds.
fn limit(context: &mut Context, args: &Args) -> Result<f64, Error> {
    let site = context.site()?.address();
    let load = Load {
        connections: args.connections as usize,
        requests: args.requests as usize,
        delay: args.delay.as_millis() as u64,
        ..Load::new(site)
    };
    let (_nobody, until) = UnixStream::pair()?;
    let loaded = load.start(OwnedFd::from(until))?.join()?;
    context.site()?.reset()?;
    Ok(loaded.wall_s)
}

fn describe(
    context: &Context,
    section: &mut Section,
    measured: &Measured,
    walls: &Times,
    (in_turn, limit): (f64, f64),
) {
    let Measured { server, loaded, .. } = measured;
    let wall = walls.median();
    let times = if in_turn < wall {
        "shorter: machine busy".to_string()
    } else {
        format!("{:.1} × as long, computed", in_turn / wall.max(1e-6))
    };
    let reference = if limit > wall { "poll loop; machine busy" } else { "a bare poll loop" };
    section.wall_s = Some(wall);
    section.baseline_s = Some(in_turn);
    section.limit_s = Some(limit);
    section.shown = bars(&[
        Bar::new(context.style.label(), wall, &walls.note(&context.machine)),
        Bar::new("one by one", in_turn, &times),
        Bar::new("reference", limit, reference),
    ]);
    let LoadReport { per_second, median_ms, p99_ms, .. } = *loaded;
    section.shown.push(format!("  latency {}", loaded.drawn()));
    section.shown.push(format!(
        "  {per_second:.0} pages a second; a page took {median_ms:.2} ms, 99 of 100 at most \
         {p99_ms:.2} ms"
    ));
    section.shown.push(format!("  most connections open at once: {}", server.most_open));
    section.measure("runs", json!(walls.seconds));
    section.measure("per_second", json!(per_second));
    section.measure("median_ms", json!(median_ms));
    section.measure("p99_ms", json!(p99_ms));
    section.measure("latency", json!(loaded.latency));
    section.picture = json!({"kind": "histogram", "counts": loaded.latency,
        "from_ms": 0.0, "to_ms": p99_ms});
    section.measure("most_open", json!(server.most_open));
    section.measure("one_thread", json!(!server.several_threads));
}

/// A2: one thread serves many connections by events, as a client and as a server.
pub fn one_thread_many_connections(io: &io_bound::Measured, m: &Measured) -> Verdict {
    match (io_bound::one_thread_many_connections(io), one_thread_many_clients(m)) {
        (Verdict::Holds(client), Verdict::Holds(server)) => {
            Verdict::Holds(format!("{client}; {server}"))
        }
        (Verdict::Holds(_), other) | (other, _) => other,
    }
}

fn one_thread_many_clients(m: &Measured) -> Verdict {
    match (many_at_once(m), m.server.several_threads) {
        (Verdict::Holds(_), false) => {
            let ServerStats { most_open, pages, .. } = m.server;
            Verdict::Holds(format!("one thread served {most_open} clients at once, {pages} pages"))
        }
        (Verdict::Holds(_), true) => {
            Verdict::Fails("several threads served the connections".into())
        }
        (other, _) => other,
    }
}

/// All clients are connected before the first of them asks. A server that takes one after the other
/// has few of them open; on a busy machine some may be through before the last is accepted.
fn many_at_once(m: &Measured) -> Verdict {
    let ServerStats { most_open, pages, .. } = m.server;
    let could_be = m.connections.min(m.max_connections);
    let said = format!(
        "{most_open} of {} connections open at once, {pages} of {} pages sent",
        m.connections, m.pages
    );
    match most_open {
        _ if could_be < 2 => Verdict::NotMeasurable("one client alone (--connections)".into()),
        _ if pages != m.pages as u64 => Verdict::Fails(said),
        n if n < 2 || n * 8 < could_be => Verdict::Fails(said),
        n if n * 2 < could_be => Verdict::NotMeasurable(format!("{said}: a busy machine")),
        _ => Verdict::Holds(said),
    }
}

/// Where `serve` listens; and, for tests, other limits than those of the style.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Listen on this port of 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    port: u16,
    /// How many connections may be open at once
    #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    max_connections: Option<u64>,
    /// How long a connection is kept on which nothing is asked
    #[arg(long, value_name = "TIME", hide = true, value_parser = duration)]
    idle: Option<Duration>,
    /// How long a request may take
    #[arg(long, value_name = "TIME", hide = true, value_parser = duration)]
    request_timeout: Option<Duration>,
    /// How long a peer may take to receive a piece of its answer
    #[arg(long, value_name = "TIME", hide = true, value_parser = duration)]
    write_timeout: Option<Duration>,
    /// How long a server that shuts down still answers
    #[arg(long, value_name = "TIME", hide = true, value_parser = duration)]
    grace: Option<Duration>,
}

impl ServeArgs {
    fn limits(&self, style: &Style) -> Limits {
        let limits = Limits::new(style.max_connections);
        Limits {
            max_connections: self.max_connections.map_or(limits.max_connections, |n| n as usize),
            idle: self.idle.unwrap_or(limits.idle),
            request: self.request_timeout.unwrap_or(limits.request),
            write: self.write_timeout.unwrap_or(limits.write),
            grace: self.grace.unwrap_or(limits.grace),
        }
    }
}

/// The program `serve`: the style's server until a signal ends it.
///
/// # Errors
///
/// The port is in use, or the server ends with an error.
pub fn serve(style: &Style, args: &ServeArgs, quiet: bool) -> Result<ExitCode, Error> {
    let port = args.port;
    let listener = open(port)
        .map_err(|error| Error::Failed(format!("cannot listen on 127.0.0.1:{port}: {error}")))?;
    let stop = until_signalled()?;
    let mut out = io::stdout().lock();
    let address = listener.local_addr()?;
    writeln!(out, "{} http://{address}", style.label()).and_then(|()| out.flush())?;
    drop(out);
    let ServerStats { pages, connections, .. } =
        (style.server)(listener, stop, args.limits(style))?;
    if !quiet {
        let (pages, connections) = (pages as usize, connections as usize);
        let (pages, connections) = (plural(pages, "page"), plural(connections, "connection"));
        let _ = writeln!(anstream::stderr(), "{pages} on {connections}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A socket that reaches its end when a SIGTERM or a Ctrl-C arrives. A second signal has its usual
/// effect.
fn until_signalled() -> io::Result<UnixStream> {
    let (stop, until) = UnixStream::pair()?;
    let until = Arc::new(until);
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_default(signal, Arc::clone(&again))?;
        flag::register(signal, Arc::clone(&again))?;
        on_signal(signal, Arc::clone(&until))?;
    }
    Ok(stop)
}

/// Shuts the socket pair down on a signal. A byte would reach only the first reader.
#[expect(unsafe_code, reason = "a signal handler may do few things")]
fn on_signal(signal: i32, until: Arc<UnixStream>) -> io::Result<()> {
    let shut_down = move || {
        // SAFETY: a system call on a descriptor that stays open as long as this handler is
        // registered.
        // `man 7 signal-safety` lists it.
        unsafe { libc::shutdown(until.as_raw_fd(), libc::SHUT_RDWR) };
    };
    // SAFETY: the handler makes that system call and nothing else. The call does not fail the first
    // time, and so does not change `errno`.
    unsafe { low_level::register(signal, shut_down) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_figures() {
        let (yes, no, unknown) = ("holds", "does not hold", "not measurable here");
        // Connections, open at once, pages sent, several threads: many at once, on one thread.
        for (connections, most_open, pages, several_threads, many, one_thread) in [
            (64, 64, 6400, false, yes, yes),
            (64, 64, 6400, true, yes, no),
            (64, 64, 6399, false, no, no),
            (64, 20, 6400, false, unknown, unknown),
            (64, 2, 6400, false, no, no),
            (64, 1, 6400, false, no, no),
            (2000, 1000, 6400, false, yes, yes),
            (64, 0, 6400, false, no, no),
            (1, 1, 6400, false, unknown, unknown),
        ] {
            let server =
                ServerStats { most_open, pages, several_threads, ..ServerStats::default() };
            let loaded = LoadReport::default();
            let m = Measured { pages: 6400, connections, max_connections: 1000, server, loaded };
            let words = (many_at_once(&m).word(), one_thread_many_clients(&m).word());
            assert_eq!(words, (many, one_thread), "{connections} {:?}", m.server);
        }
    }

    #[test]
    fn one_thread_has_to_fetch_and_to_serve() {
        let server = |several_threads| Measured {
            pages: 4,
            connections: 2,
            max_connections: 1000,
            server: ServerStats {
                most_open: 2,
                pages: 4,
                several_threads,
                ..ServerStats::default()
            },
            loaded: LoadReport::default(),
        };
        let verdict = |threads, several| {
            let client = io_bound::tests::measured(Some(20), 20, threads);
            one_thread_many_connections(&client, &server(several)).word()
        };
        assert_eq!(verdict(1, false), "holds");
        assert_eq!(verdict(2, false), "does not hold");
        assert_eq!(verdict(1, true), "does not hold");
    }

    #[test]
    fn what_is_not_a_success() {
        let server = |pages, open| ServerStats { open, pages, ..ServerStats::default() };
        let good = LoadReport { right: 5, ..LoadReport::default() };
        assert_eq!(wrong(&server(5, 0), &good), None);
        assert!(wrong(&server(4, 0), &good).is_some());
        assert!(wrong(&server(5, 1), &good).is_some());
        let bad = LoadReport { first_error: Some("no".into()), ..good };
        assert!(wrong(&server(5, 0), &bad).is_some());
    }
}
