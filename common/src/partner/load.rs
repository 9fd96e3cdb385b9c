//! The clients that test a style's server: a program of its own.
//!
//! It opens all its connections, then requests one page after another on each of them, and checks
//! every page, byte for byte by its CRC-32. It has one thread and one poll loop. It reports in one
//! line of JSON ([`LoadReport`]). By hand it runs as
//! `cargo run -p threads -- load 127.0.0.1:8000`.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Response, Status};
use polling::{Event, Events, Poller};
use serde::{Deserialize, Serialize};

use crate::http::{body, page};
use crate::partner::child::{self, Child};
use crate::partner::poller::{add, modify, would_block};

/// How long no connection may receive anything before the load ends.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much is read at once. It is more than in the styles, so that the load is not the bottleneck.
const READ: usize = 64 * 1024;

/// Columns in the picture of the latencies.
const COLUMNS: usize = 40;

/// What to request.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// The server
    #[arg(value_name = "ADDRESS:PORT")]
    pub server: SocketAddr,
    /// Open this many connections
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub connections: usize,
    /// Send this many requests on each of them
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub requests: usize,
    /// Request this many pages in turn, so that an answer to the wrong request is noticed
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pages: u64,
    /// The first of these pages; page N is N bytes long, at least 1024
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub from: u64,
    /// Have every page delayed by this many milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub delay: u64,
    /// Have this many requests under way on each connection
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pipeline: u64,
}

/// What the clients saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Pages that arrived and were right.
    pub right: usize,
    /// Pages that were wrong, or did not arrive.
    pub errors: usize,
    /// The first of these errors.
    pub first_error: Option<String>,
    /// From the first request to the last answer.
    pub wall_s: f64,
    /// Right pages per second.
    pub per_second: f64,
    /// From the request to the last byte of its answer.
    pub median_ms: f64,
    /// 99 of 100 pages took no longer.
    pub p99_ms: f64,
    /// How many pages took how long: columns of the same width up to `p99_ms`. The last one
    /// includes the pages that took longer.
    pub latency: Vec<u32>,
    /// Connections that were open at once.
    pub most_open: usize,
}

impl Load {
    /// Sixty-four connections, a hundred requests each.
    pub fn new(server: SocketAddr) -> Load {
        Load { server, connections: 64, requests: 100, pages: 50, from: 0, delay: 0, pipeline: 1 }
    }

    /// Starts the load as a process of its own: this program again, with the argument `load`.
    ///
    /// It holds `until` for as long as it runs. When the load is done, the other end becomes
    /// readable: then the server may stop.
    ///
    /// Like the site, it also ends with the thread that called this.
    pub fn start(&self, until: OwnedFd) -> io::Result<Running> {
        let numbers = [
            ("--connections", self.connections as u64),
            ("--requests", self.requests as u64),
            ("--pages", self.pages),
            ("--from", self.from),
            ("--delay", self.delay),
            ("--pipeline", self.pipeline),
        ];
        let numbers = numbers.map(|(name, n)| format!("{name}={n}"));
        let child = child::command()
            .arg("load")
            .args(numbers)
            .arg(self.server.to_string())
            .stdin(Stdio::from(until))
            .stdout(Stdio::piped())
            .process_group(0) // Ctrl-C is for us, and we end it
            .spawn()?;
        Ok(Running(Child(child)))
    }

    /// Runs the load in this process.
    pub fn run(&self) -> io::Result<LoadReport> {
        Clients::new(self)?.run()
    }
}

impl LoadReport {
    /// How many pages took how long, as a picture.
    pub fn drawn(&self) -> String {
        const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.latency.iter().copied().max().unwrap_or(0).max(1);
        // One page must be visible beside ten thousand.
        let level = |n: u32| (n * (LEVELS.len() as u32 - 1)).div_ceil(most) as usize;
        let columns = self.latency.iter().map(|&n| if n == 0 { ' ' } else { LEVELS[level(n)] });
        format!("0 {} {:.1} ms", columns.collect::<String>(), self.p99_ms)
    }
}

/// Counts `latencies` by which of [`COLUMNS`] parts of `full`, in seconds, they belong to.
fn columns(latencies: &[Duration], full: f64) -> Vec<u32> {
    let mut columns = vec![0; COLUMNS];
    for latency in latencies {
        let column = latency.as_secs_f64() / full.max(1e-9) * COLUMNS as f64;
        columns[(column as usize).min(COLUMNS - 1)] += 1;
    }
    columns
}

/// A load under way in its own process, killed if it is dropped before its end.
pub struct Running(Child);

impl Running {
    /// Waits for the end, and returns the report.
    pub fn join(mut self) -> io::Result<LoadReport> {
        let mut line = String::new();
        let child = &mut self.0.0;
        let stdout = child.stdout.take().expect("it is piped, and taken once");
        BufReader::new(stdout).read_line(&mut line)?;
        let status = child.wait()?;
        serde_json::from_str(&line)
            .map_err(|_| io::Error::other(format!("the load ended early: {status}")))
    }
}

/// The program `load`. Exit 1 when a page was wrong.
pub fn main(load: &Load) -> ExitCode {
    match program(load) {
        Ok(loaded) if loaded.errors == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn program(load: &Load) -> io::Result<LoadReport> {
    let loaded = load.run()?;
    let line = serde_json::to_string(&loaded).map_err(io::Error::other)?;
    writeln!(io::stdout(), "{line}")?;
    Ok(loaded)
}

/// A page: how to request it, and what it must be.
struct Asked {
    request: Vec<u8>,
    length: u64,
    crc32: u32,
}

/// All open connections.
struct Clients<'a> {
    /// Dropped first, while all its sources are still open.
    poller: Poller,
    load: &'a Load,
    pages: Vec<Asked>,
    /// By key; `None` when its work is done.
    connections: Vec<Option<Client>>,
    /// How many of them are `Some`.
    working: usize,
    latencies: Vec<Duration>,
    loaded: LoadReport,
}

struct Client {
    socket: TcpStream,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    /// The pages that are requested and have not arrived yet: which, and when they were requested.
    asked: VecDeque<(usize, Instant)>,
    /// How many requests have been made.
    made: usize,
    /// The body that is arriving, after its head.
    body: Option<Body>,
    /// The server does not take more of `out` at the moment.
    blocked: bool,
}

struct Body {
    left: u64,
    crc32: crc32fast::Hasher,
}

impl<'a> Clients<'a> {
    fn new(load: &'a Load) -> io::Result<Clients<'a>> {
        let page = |n| {
            let (length, crc32) = page::facts(n);
            let delay = match load.delay {
                0 => String::new(),
                ms => format!("?delay={ms}"),
            };
            let server = load.server;
            let request = format!("GET /page/{n}{delay} HTTP/1.1\r\nhost: {server}\r\n\r\n");
            Asked { request: request.into_bytes(), length, crc32 }
        };
        Ok(Clients {
            poller: Poller::new()?,
            load,
            pages: (load.from..load.from.saturating_add(load.pages)).map(page).collect(),
            connections: Vec::new(),
            working: 0,
            latencies: Vec::new(),
            loaded: LoadReport::default(),
        })
    }

    fn run(mut self) -> io::Result<LoadReport> {
        for key in 0..self.load.connections {
            let client = self.connect(key);
            if let Err(error) = &client {
                self.failed(key, 0, &format!("cannot connect: {error}"));
            }
            self.connections.push(client.ok());
        }
        self.working = self.connections.iter().flatten().count();
        self.loaded.most_open = self.working;
        let begin = Instant::now();
        for key in 0..self.connections.len() {
            self.advance(key, |all, client| all.ask(key, client));
        }
        let mut events = Events::new();
        let mut buf = vec![0; READ];
        while self.working > 0 {
            events.clear();
            self.poller.wait(&mut events, Some(TIMEOUT))?;
            if events.is_empty() {
                for key in 0..self.connections.len() {
                    self.advance(key, |_, _| Err("no answer within 10 s".into()));
                }
            }
            for event in events.iter() {
                let key = event.key;
                if event.readable {
                    self.advance(key, |all, client| all.read(key, client, &mut buf));
                }
                if event.writable {
                    self.advance(key, |all, client| all.flush(key, client));
                }
            }
        }
        self.latencies.sort_unstable();
        let wall_s = begin.elapsed().as_secs_f64();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(index).map_or(0.0, |l| l.as_secs_f64() * 1000.0)
        };
        self.loaded.right = self.latencies.len();
        self.loaded.wall_s = wall_s;
        self.loaded.per_second = self.latencies.len() as f64 / wall_s;
        self.loaded.median_ms = at(0.5);
        self.loaded.p99_ms = at(0.99);
        self.loaded.latency = columns(&self.latencies, at(0.99) / 1000.0);
        Ok(self.loaded)
    }

    fn connect(&self, key: usize) -> io::Result<Client> {
        let socket = TcpStream::connect_timeout(&self.load.server, TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        add(&self.poller, &socket, Event::readable(key))?;
        Ok(Client {
            socket,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
            asked: VecDeque::new(),
            made: 0,
            body: None,
            blocked: false,
        })
    }

    /// Lets a client take its next step, and removes it when its work is done or has failed.
    fn advance(
        &mut self,
        key: usize,
        step: impl FnOnce(&mut Self, &mut Client) -> Result<(), String>,
    ) {
        // Taken out of the table, so that both can be changed.
        let Some(mut client) = self.connections[key].take() else {
            return;
        };
        let result = step(self, &mut client);
        let come = client.made - client.asked.len();
        if result.is_ok() && come < self.load.requests {
            self.connections[key] = Some(client);
            return;
        }
        self.working -= 1;
        let _ = self.poller.delete(&client.socket);
        if let Err(error) = result {
            self.failed(key, come, &error);
        }
    }

    /// A connection failed after this many of its pages had arrived.
    fn failed(&mut self, key: usize, come: usize, error: &str) {
        self.loaded.errors += self.load.requests - come;
        if self.loaded.first_error.is_none() {
            self.loaded.first_error = Some(format!("connection {key}: {error}"));
        }
    }

    /// Requests as many pages as may be under way.
    fn ask(&mut self, key: usize, client: &mut Client) -> Result<(), String> {
        while client.made < self.load.requests && client.asked.len() < self.load.pipeline as usize {
            let page = (key + client.made) % self.pages.len();
            client.out.extend_from_slice(&self.pages[page].request);
            client.asked.push_back((page, Instant::now()));
            client.made += 1;
        }
        self.flush(key, client)
    }

    fn flush(&mut self, key: usize, client: &mut Client) -> Result<(), String> {
        let mut blocked = false;
        while client.sent < client.out.len() && !blocked {
            match client.socket.write(&client.out[client.sent..]) {
                Ok(n) => client.sent += n,
                Err(error) if would_block(&error) => blocked = true,
                Err(error) => return Err(error.to_string()),
            }
        }
        if !blocked {
            client.sent = 0;
            client.out.clear();
        }
        if blocked != client.blocked {
            client.blocked = blocked;
            let interest = Event::new(key, true, blocked);
            let result = modify(&self.poller, &client.socket, interest);
            result.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn read(&mut self, key: usize, client: &mut Client, buf: &mut [u8]) -> Result<(), String> {
        match client.socket.read(buf) {
            Ok(0) => return Err("closed too early".into()),
            Ok(n) => client.input.extend_from_slice(&buf[..n]),
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        while let Some(latency) = client.page(&self.pages)? {
            self.latencies.push(latency);
        }
        self.ask(key, client)
    }
}

impl Client {
    /// Parses what has arrived. If that completes a page, returns how long it took.
    fn page(&mut self, pages: &[Asked]) -> Result<Option<Duration>, String> {
        let Some(&(page, asked)) = self.asked.front() else {
            if self.input.is_empty() {
                return Ok(None);
            }
            return Err("an answer to nothing".into());
        };
        let page = &pages[page];
        if self.body.is_none() {
            let mut headers = [EMPTY_HEADER; 32];
            let mut head = Response::new(&mut headers);
            let parsed = head.parse(&self.input).map_err(|error| error.to_string())?;
            let Status::Complete(used) = parsed else {
                return Ok(None);
            };
            let status = head.code.unwrap_or(0);
            let length = body::Body::announced(head.headers, false);
            if status != 200 {
                return Err(format!("status {status}"));
            }
            if length != Ok(Some(body::Body::Length(page.length))) {
                return Err("another length than the page has".into());
            }
            self.input.drain(..used);
            self.body = Some(Body { left: page.length, crc32: crc32fast::Hasher::new() });
        }
        let body = self.body.as_mut().expect("it has just been set");
        let n = self.input.len().min(body.left as usize);
        body.crc32.update(&self.input[..n]);
        body.left -= n as u64;
        self.input.drain(..n);
        if body.left > 0 {
            return Ok(None);
        }
        let crc32 = self.body.take().map(|body| body.crc32.finalize());
        if crc32 != Some(page.crc32) {
            return Err("another page than the one that was asked for".into());
        }
        self.asked.pop_front();
        Ok(Some(asked.elapsed()))
    }
}

#[cfg(test)]
mod tests;
