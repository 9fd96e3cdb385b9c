//! How many pages per second each style's server sends on kept connections, beside a minimal hyper
//! server on one thread in the same run. Prints figures, asserts that every page was right.
//! Run it: cargo bench -p tests --features hyper --bench served
//! Fewer or more rounds than five: cargo bench -p tests --features hyper --bench served -- 3

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use common::http::page;
use common::partner::child;
use common::partner::load::Load;
use common::partner::site::listener::listen;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::signal::Signal;
use tests::programs::{Running, start};
use tests::styles::STYLES;
use tests::traces::usage;

const CONNECTIONS: usize = 64;
/// Requests on each connection.
const REQUESTS: usize = 1000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "hyper") {
        return hyper();
    }
    // cargo itself adds `--bench`.
    let rounds: usize = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(5);
    let mut floor = Vec::new();
    let mut seen: Vec<(Vec<f64>, Vec<f64>)> = STYLES.map(|_| <_>::default()).into();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        // In turns: a busy machine then slows all of them.
        let (mut server, address) = beside();
        floor.push(per_second(address));
        server.kill().expect("it has not been waited for");
        server.wait().expect("it is our child");
        for (style, (runs, cpu)) in STYLES.iter().zip(&mut seen) {
            let mut server = start(style, &["serve", "--port", "0"]);
            let address = listens(&mut server);
            runs.push(per_second(address));
            server.signal(Signal::SIGTERM);
            let (output, used) = server.finish_and(usage);
            assert_eq!(output.code, 0);
            cpu.push(used.expect("it is our child").cpu_s * 1e6 / (CONNECTIONS * REQUESTS) as f64);
        }
    }
    println!("pages of 1024 bytes a second, {CONNECTIONS} connections, {rounds} rounds");
    println!(
        "{:13} {:>7} {:>15} {:>7} {:>7} {:>11}",
        "", "median", "spread", "share", "aim", "CPU µs/page"
    );
    let bottom = median(&floor);
    row("hyper", &floor, bottom, "");
    for (style, (runs, cpu)) in STYLES.iter().zip(&seen) {
        let aim = AIMS.iter().find(|(name, _)| *name == style.name).map_or(0.0, |(_, aim)| *aim);
        row(style.name, runs, bottom, &format!("{aim:7.2} {:11.1}", median(cpu)));
    }
}

/// The share that each style should reach at least.
const AIMS: [(&str, f64); 8] = [
    ("threads", 0.60),
    ("processes", 0.37),
    ("coroutines", 0.73),
    ("gevent-style", 0.62),
    ("twisted-style", 0.92),
    ("on_tokio", 0.89),
    ("on_async_std", 0.65),
    ("on_smol", 0.74),
];

fn row(name: &str, runs: &[f64], bottom: f64, rest: &str) {
    let low = runs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = runs.iter().copied().fold(0.0, f64::max);
    let middle = median(runs);
    println!(
        "{name:13} {middle:7.0} {:>15} {:7.2} {rest}",
        format!("{low:.0} – {high:.0}"),
        middle / bottom
    );
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

fn listens(server: &mut Running) -> SocketAddr {
    let line = server.first_line();
    let address = line.trim_end().rsplit_once("http://").and_then(|(_, a)| a.parse().ok());
    address.unwrap_or_else(|| panic!("no address: {line}"))
}

/// The rate that the clients report, after a check that every page was right.
fn per_second(server: SocketAddr) -> f64 {
    let (connections, requests) = (CONNECTIONS, REQUESTS);
    let load = Load { connections, requests, pages: 1, from: 1, ..Load::new(server) };
    let loaded = load.run().expect("there is a descriptor left");
    assert_eq!((loaded.errors, loaded.first_error), (0, None));
    loaded.per_second
}

// ---- hyper ---------------------------------------------------------------------------------

/// This program again, as the server to compare with.
fn beside() -> (Child, SocketAddr) {
    let mut child =
        child::command().arg("hyper").stdout(Stdio::piped()).spawn().expect("a process");
    let stdout = child.stdout.take().expect("it is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
    (child, line.trim_end().parse().expect("an address"))
}

fn hyper() {
    let listener = listen(0).expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("there is a descriptor left");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        listener.set_nonblocking(true).expect("a socket option");
        let listener = tokio::net::TcpListener::from_std(listener).expect("in the loop");
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).expect("a socket option");
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(page));
            tokio::task::spawn_local(connection);
        }
    });
}

async fn page(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from(page::page(1)))))
}
