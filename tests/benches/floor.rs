//! How far each style is from the floor: a hand-written epoll loop over the same client that does
//! only what the pages need. Prints figures, asserts answers.
//! Run it: cargo bench -p tests
//! Fewer or more rounds than seven: cargo bench -p tests -- 3

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use common::http::get::Get;
use common::http::page;
use common::limits::BUFFER;
use common::workload::io_bound::{Job, Outcome, Page};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
use serde_json::Value;
use tests::programs::{run, start};
use tests::sites::SiteByHand;
use tests::styles::{STYLES, Style, THREADS};
use tests::traces::usage;

const PAGES: u64 = 1000;
const LATENCY: Duration = Duration::from_millis(100);

fn main() {
    // cargo itself adds `--bench`.
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(7);
    let expected: Vec<Page> = (0..PAGES).map(page).collect();
    let site = SiteByHand::start(&THREADS);
    let address = site.url.trim_start_matches("http://").parse().expect("an address");

    let mut floor = Vec::new();
    // A thousand processes would be too many.
    let fits = |style: &&Style| style.pages as u64 >= PAGES;
    let mut seen: Vec<(&Style, Vec<f64>)> =
        STYLES.iter().filter(fits).map(|style| (style, Vec::new())).collect();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        // In turns: a busy machine then slows all of them.
        floor.push(once(address, &expected));
        for (style, runs) in &mut seen {
            let section = section(style, &[&IO_BOUND[..], &["--format", "json"]].concat());
            runs.push(section["wall_s"].as_f64().expect("a time"));
        }
    }
    println!("io-bound: {PAGES} pages, each {LATENCY:?} away, {rounds} rounds; seconds");
    println!(
        "{:13} {:>7} {:>15} {:>7} {:>7} {:>11} {:>12}",
        "", "median", "spread", "factor", "aim", "CPU µs/page", "peak memory"
    );
    let bottom = median(&floor);
    row("floor", &floor, bottom, "");
    for (style, walls) in seen {
        let aim = AIMS.iter().find(|(name, _)| *name == style.name).map_or(0.0, |(_, aim)| *aim);
        let (cpu, memory) = used(style, rounds);
        row(style.name, &walls, bottom, &format!("{aim:7.2} {cpu:11.0} {memory:8.1} MiB"));
    }
    println!();
    println!("cpu-bound: as many times as fast as one by one, a core, {rounds} rounds");
    println!("{:13} {:>7} {:>15}", "", "median", "spread");
    for style in &STYLES {
        let speed_ups: Vec<f64> = (0..rounds).map(|_| cpu_bound(style)).collect();
        println!("{:13} {:7.2} {:>15}", style.name, median(&speed_ups), spread(&speed_ups));
    }
}

fn row(name: &str, walls: &[f64], bottom: f64, memory: &str) {
    let (wall, spread) = (median(walls), spread(walls));
    println!("{name:13} {wall:7.3} {spread:>15} {:7.2} {memory}", wall / bottom);
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

fn spread(of: &[f64]) -> String {
    let low = of.iter().copied().fold(f64::INFINITY, f64::min);
    let high = of.iter().copied().fold(0.0, f64::max);
    format!("{low:.3} – {high:.3}")
}

// ---- the programs --------------------------------------------------------------------------

/// The same pages and the same delay as for the floor.
const IO_BOUND: [&str; 5] = ["io-bound", "--pages", "1000", "--latency", "100ms"];

/// The factor that each style should keep within.
const AIMS: [(&str, f64); 7] = [
    ("threads", 1.32),
    ("coroutines", 1.05),
    ("gevent-style", 1.30),
    ("twisted-style", 0.95),
    ("on_tokio", 1.08),
    ("on_async_std", 1.28),
    ("on_smol", 1.20),
];

/// The CPU time of the whole program per page in microseconds, as the median of `rounds` runs, and
/// its maximum memory in MiB.
fn used(style: &Style, rounds: usize) -> (f64, f64) {
    // Without the JSON, because its spans would take some of both.
    let args = [&IO_BOUND[..], &["--quiet"]].concat();
    let (mut cpu, mut most) = (Vec::new(), 0.0);
    for _ in 0..rounds {
        let (output, used) = start(style, &args).finish_and(usage);
        output.answer();
        let used = used.expect("it is our child");
        cpu.push(used.cpu_s * 1e6 / PAGES as f64);
        most = f64::max(most, used.peak_kib as f64 / 1024.0);
    }
    (median(&cpu), most)
}

/// How many times as fast as one count after the other, divided by the cores.
fn cpu_bound(style: &Style) -> f64 {
    let section = section(style, &["cpu-bound", "--format", "json"]);
    let time = |name: &str| section[name].as_f64().expect("a time");
    // The limit is the baseline divided by the cores.
    time("limit_s") / time("wall_s")
}

/// Runs a workload and checks its answer. Returns what was measured.
fn section(style: &Style, args: &[&str]) -> Value {
    let json = run(style, args).answer();
    let mut json: Value = serde_json::from_str(&json).expect("JSON");
    let section = json["workloads"][args[0]].take();
    assert_eq!(section["ok"], true, "{}", style.name);
    section
}

// ---- the floor -----------------------------------------------------------------------------

fn page(n: u64) -> Page {
    let (length, crc32) = page::facts(n);
    Page { status: 200, length, crc32 }
}

/// Seconds that the loop below takes.
fn once(address: SocketAddr, expected: &[Page]) -> f64 {
    let job = |n: u64| Job {
        task: n as usize,
        url: format!("http://{address}/page/{n}?delay={}", LATENCY.as_millis()),
        addresses: vec![address],
        page: format!("/page/{n}"),
        timeout: Duration::from_secs(10),
    };
    let jobs = (0..PAGES).map(job).collect();
    let start = Instant::now();
    let outcomes = floor(jobs).expect("the site is there");
    let took = start.elapsed().as_secs_f64();
    let pages = outcomes.into_iter().map(|outcome| outcome.result);
    assert!(pages.eq(expected.iter().copied().map(Ok)), "a page is wrong");
    took
}

/// A page under way.
struct Fetch {
    socket: TcpStream,
    get: Get,
    asked: bool,
}

/// One thread, one epoll, edge-triggered: a socket is added once and never changed. No task, and no
/// timer but the one deadline of all pages.
fn floor(jobs: Vec<Job>) -> io::Result<Vec<Outcome>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    let mut fetches = Vec::new();
    for job in jobs {
        let get = Get::new(job);
        let socket = connect(get.addresses()[0])?;
        epoll.add(&socket, EpollEvent::new(both, fetches.len() as u64))?;
        fetches.push(Some(Fetch { socket, get, asked: false }));
    }
    let mut outcomes: Vec<Option<Outcome>> = fetches.iter().map(|_| None).collect();
    let mut left = fetches.len();
    let mut events = [EpollEvent::empty(); 256];
    while left > 0 {
        let n = match epoll.wait(&mut events, EpollTimeout::from(10_000_u16)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(n) => n,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..n] {
            let key = event.data() as usize;
            let Some(fetch) = &mut fetches[key] else { continue };
            let result = advance(fetch);
            let blocked = matches!(&result, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
            if !blocked && let Some(fetch) = fetches[key].take() {
                outcomes[key] = Some(fetch.get.outcome(result));
                left -= 1;
            }
        }
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// Goes on with a page until it would block, is complete, or has failed.
fn advance(fetch: &mut Fetch) -> io::Result<()> {
    if !fetch.asked {
        fetch.socket.write_all(fetch.get.request())?; // a few bytes: all of them, or none yet
        fetch.asked = true;
    }
    let mut buf = [0; BUFFER];
    while fetch.get.wants_more() {
        let n = fetch.socket.read(&mut buf)?;
        fetch.get.received(&buf[..n])?;
    }
    Ok(())
}

/// Begins to connect. The socket becomes writable when it is connected.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(address) = address else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    match socket::connect(socket.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}
