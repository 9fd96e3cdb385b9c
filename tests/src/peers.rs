//! The peers of a server, well-behaved and not. Each plays its part against an address and reports
//! what was wrong. The answers are parsed by hand, not by the code that wrote them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use common::http::page::page;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::SAFETY;

/// Nothing, or what was wrong.
pub type Seen = Result<(), String>;

/// A peer, by name.
pub struct Peer {
    pub name: &'static str,
    pub play: fn(SocketAddr) -> Seen,
}

const fn peer(name: &'static str, play: fn(SocketAddr) -> Seen) -> Peer {
    Peer { name, play }
}

/// Peers that keep to HTTP, including its less usual features.
pub const GOOD: &[Peer] = &[
    peer("keeps alive", keeps_alive),
    peer("pipelines", pipelines),
    peer("speaks HTTP/1.0", speaks_http10),
    peer("asks for the head only", asks_for_heads),
    peer("closes when it says so", closes),
    peer("asks in absolute form", absolute_form),
    peer("expects 100 Continue", expects_continue),
    peer("sends bodies", sends_bodies),
    peer("reads the index", reads_the_index),
    peer("closes its half", closes_its_half),
    peer("reads a long page", reads_a_long_page),
    peer("sends byte by byte", sends_byte_by_byte),
    peer("reads slowly", reads_slowly),
];

/// Peers that break off, or send what is not a request. Each must end only its own connection, and
/// must see the answer to it.
pub const BAD: &[Peer] = &[
    peer("comes and goes", comes_and_goes),
    peer("resets before it asks", |a| resets(a, "")),
    peer("resets in a request", |a| resets(a, "GET /page/1 HTTP/1.1\r\nho")),
    peer("resets before the answer", |a| resets(a, &get("/page/1?delay=50"))),
    peer("resets in a long page", resets_in_a_long_page),
    peer("closes in a request", closes_in_a_request),
    peer("sends a TLS hello", |a| refused(a, TLS_HELLO, 400)),
    peer("speaks HTTP/2", |a| {
        refused(a, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 400)
    }),
    peer("sends NUL bytes", |a| refused(a, &[0; 100], 400)),
    peer("sends 0xFF bytes", |a| refused(a, &[0xff; 100], 400)),
    peer("sends a line of nothing", |a| refused(a, b"hello, server\r\n\r\n", 400)),
    peer("sends a head of 40 kB", |a| refused(a, long_head(40_000).as_bytes(), 431)),
    peer("sends a head just too long", |a| refused(a, long_head(8200).as_bytes(), 431)),
    peer("sends too many headers", |a| refused(a, many_headers().as_bytes(), 431)),
    peer("names no host", |a| refused(a, b"GET / HTTP/1.1\r\n\r\n", 400)),
    peer("sends conflicting lengths", conflicting_lengths),
    peer("sends a broken chunk", broken_chunk),
    peer("sends a long body", long_body),
    peer("asks by other methods", other_methods),
    peer("asks for unknown paths", unknown_paths),
    peer("asks for bad delays", bad_delays),
    peer("pours in garbage", pours_garbage),
];

/// A peer that a server must not wait for: what it does, and how long at most.
pub struct SlowPeer {
    pub name: &'static str,
    pub play: fn(SocketAddr, Duration) -> Seen,
}

const fn slow_peer(name: &'static str, play: fn(SocketAddr, Duration) -> Seen) -> SlowPeer {
    SlowPeer { name, play }
}

/// Peers that use up the time limits of a server, and take as long as those.
pub const SLOW: &[SlowPeer] = &[
    slow_peer("sends half a request", |address, most| {
        waits_for_408(address, most, "GET /page/1 HTTP/1.1\r\nhost: h\r\n")
    }),
    slow_peer("sends half a body", |address, most| {
        waits_for_408(address, most, &with("/page/1", "content-length: 9\r\n"))
    }),
    slow_peer("drips a request", drips),
    slow_peer("says nothing", |address, most| is_idle(address, most, false)),
    slow_peer("says nothing more", |address, most| is_idle(address, most, true)),
    slow_peer("never reads", never_reads),
];

/// Plays every peer that does not use up a time limit. After each of them a well-behaved client
/// must be served, and `alive` must report no error. `holds` is how many connections the server
/// holds. Returns what went wrong.
pub fn quick(address: SocketAddr, holds: usize, alive: &dyn Fn() -> Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |name, seen| wrong.extend(after(name, seen, address, alive).err());
    for peer in GOOD.iter().chain(BAD) {
        check(peer.name, (peer.play)(address));
    }
    check("is idle, 500 times", idle_crowd(address, holds.saturating_sub(10).min(500)));
    let far = Duration::from_mins(1); // the longest delay there is
    check("waits, 50 times", waiting_crowd(address, (holds / 4).min(50), far));
    wrong
}

/// Plays the slow peers at the same time, so that they take no longer than one of them.
pub fn slow(address: SocketAddr, alive: &dyn Fn() -> Seen) -> Vec<String> {
    let play = |peer: &'static SlowPeer| thread::spawn(move || (peer.play)(address, SAFETY));
    let players: Vec<_> = SLOW.iter().map(play).collect();
    let mut wrong = Vec::new();
    for (peer, player) in SLOW.iter().zip(players) {
        let seen = player.join().unwrap_or_else(|_| Err("panicked".into()));
        wrong.extend(after(peer.name, seen, address, alive).err());
    }
    wrong
}

fn after(name: &str, seen: Seen, address: SocketAddr, alive: &dyn Fn() -> Seen) -> Seen {
    let result = seen.and_then(|()| recovered(address)).and_then(|()| alive());
    result.map_err(|error| format!("{name}: {error}"))
}

/// Plays the peer of this name, for at most `most` if it is a slow one, then a well-behaved client.
pub fn play(name: &str, address: SocketAddr, most: Duration) -> Seen {
    let slow = SLOW.iter().find(|peer| peer.name == name);
    let quick = GOOD.iter().chain(BAD).find(|peer| peer.name == name);
    let seen = match (slow, quick) {
        (Some(peer), _) => (peer.play)(address, most),
        (None, Some(peer)) => (peer.play)(address),
        (None, None) => Err("no such peer".into()),
    };
    seen.and_then(|()| recovered(address))
}

fn recovered(address: SocketAddr) -> Seen {
    well_behaved(address).map_err(|error| format!("no client is served after it: {error}"))
}

/// A GET over HTTP/1.1.
pub fn get(target: &str) -> String {
    with(target, "")
}

/// A GET with more headers.
fn with(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: h\r\n{headers}\r\n")
}

/// One connection to the server.
pub struct Wire {
    socket: TcpStream,
    input: Vec<u8>,
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

fn words(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Result<Wire, String> {
        let socket = TcpStream::connect_timeout(&address, SAFETY).map_err(words("connect"))?;
        for result in [
            socket.set_read_timeout(Some(SAFETY)),
            socket.set_write_timeout(Some(SAFETY)),
            socket.set_nodelay(true),
        ] {
            result.map_err(words("a socket option"))?;
        }
        Ok(Wire { socket, input: Vec::new() })
    }

    /// Waits for at most this long from now on.
    fn waits_at_most(&self, most: Duration) -> Seen {
        self.socket.set_read_timeout(Some(most)).map_err(words("a socket option"))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Seen {
        self.socket.write_all(bytes.as_ref()).map_err(words("send"))
    }

    /// The next answer, its body as long as its head says.
    pub fn answer(&mut self) -> Result<Answer, String> {
        let mut answer = self.head()?;
        if answer.status >= 200 {
            let length = answer.field("content-length").ok_or("an answer without a length")?;
            let length: usize = length.parse().map_err(|_| format!("length {length}"))?;
            while self.input.len() < length {
                if self.more()? == 0 {
                    return Err(format!("{} of {length} bytes came", self.input.len()));
                }
            }
            answer.body = self.input.drain(..length).collect();
        }
        Ok(answer)
    }

    /// The head of the next answer. The bytes after it are not read.
    pub fn head(&mut self) -> Result<Answer, String> {
        let end = loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if self.more()? == 0 {
                let seen = String::from_utf8_lossy(&self.input).into_owned();
                return Err(format!("closed instead of an answer, after {seen:?}"));
            }
        };
        let head: Vec<u8> = self.input.drain(..end + 4).collect();
        let head = String::from_utf8(head).map_err(|_| "a head that is no text")?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| format!("no status line: {head:?}"))?;
        Ok(Answer { status, head: head.to_lowercase(), body: Vec::new() })
    }

    /// Requests page `n` and checks it.
    pub fn page(&mut self, n: u64) -> Seen {
        self.send(get(&format!("/page/{n}")))?;
        self.is_page(n)
    }

    pub fn is_page(&mut self, n: u64) -> Seen {
        let answer = self.answer()?;
        if answer.status != 200 {
            return Err(format!("page {n}: status {}", answer.status));
        }
        if answer.body != page(n) {
            return Err(format!("page {n}: another body, or part of it"));
        }
        Ok(())
    }

    /// Whether nothing has arrived, not even the end.
    pub fn is_quiet(&mut self) -> bool {
        let quiet = self.socket.set_nonblocking(true).and_then(|()| self.socket.peek(&mut [0]));
        let _ = self.socket.set_nonblocking(false);
        self.input.is_empty() && quiet.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Checks that the server closes cleanly and sends nothing more.
    pub fn ends(&mut self) -> Seen {
        match self.more() {
            Ok(0) if self.input.is_empty() => Ok(()),
            Ok(_) => Err(format!("{} bytes too many", self.input.len())),
            Err(error) => Err(format!("no end: {error}")),
        }
    }

    fn more(&mut self) -> Result<usize, String> {
        let mut buf = [0; 16 * 1024];
        let n = self.socket.read(&mut buf).map_err(words("read"))?;
        self.input.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn close_half(&mut self) -> Seen {
        self.socket.shutdown(Shutdown::Write).map_err(words("shutdown"))
    }

    /// Ends the connection by a reset.
    fn reset(self) -> Seen {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.socket, sockopt::Linger, &at_once).map_err(|e| format!("linger: {e}"))
    }
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    fn is(&self, status: u16) -> Seen {
        if self.status == status {
            return Ok(());
        }
        Err(format!("status {} instead of {status}", self.status))
    }

    fn says(&self, name: &str, value: Option<&str>) -> Seen {
        if self.field(name) == value {
            return Ok(());
        }
        Err(format!("{name}: {:?} instead of {value:?}", self.field(name)))
    }
}

/// Two pages over one connection.
pub fn well_behaved(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.page(1)?;
    wire.page(5000)
}

// ---- the good ones -------------------------------------------------------------------------

fn keeps_alive(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    for n in [0, 5000, 100_000, 1025] {
        wire.page(n)?;
    }
    Ok(())
}

fn pipelines(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    let asked: String = (2000..2050).map(|n| get(&format!("/page/{n}"))).collect();
    wire.send(asked)?;
    (2000..2050).try_for_each(|n| wire.is_page(n))
}

fn speaks_http10(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send("GET /page/1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")?;
    let answer = wire.answer()?;
    answer.is(200)?;
    answer.says("connection", Some("keep-alive"))?;
    wire.send("GET /page/2 HTTP/1.0\r\n\r\n")?;
    wire.is_page(2)?;
    wire.ends()
}

fn asks_for_heads(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send("HEAD /page/5000 HTTP/1.1\r\nhost: h\r\n\r\n")?;
    let answer = wire.head()?;
    answer.is(200)?;
    answer.says("content-length", Some("5000"))?;
    wire.page(1)?;
    wire.send("HEAD /nothing HTTP/1.1\r\nhost: h\r\n\r\n")?;
    wire.head()?.is(404)?;
    wire.ends()
}

fn closes(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send(with("/page/1", "connection: close\r\n") + &get("/page/2"))?;
    let answer = wire.answer()?;
    answer.is(200)?;
    answer.says("connection", Some("close"))?;
    wire.ends()
}

fn absolute_form(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send(get(&format!("http://{address}/page/7?delay=1")))?;
    wire.is_page(7)
}

fn expects_continue(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send(with("/page/1", "content-length: 5\r\nexpect: 100-continue\r\n"))?;
    wire.answer()?.is(100)?;
    wire.send("hello")?;
    wire.is_page(1)?;
    wire.page(2)
}

fn sends_bodies(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send(with("/page/1", "content-length: 16000\r\n") + &"x".repeat(16_000))?;
    wire.is_page(1)?;
    wire.send(with("/page/2", "transfer-encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n")?;
    wire.is_page(2)?;
    wire.page(3)
}

fn reads_the_index(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send(get("/"))?;
    let answer = wire.answer()?;
    answer.is(200)?;
    if answer.body.is_empty() { Err("an empty index".into()) } else { Ok(()) }
}

fn closes_its_half(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send(get("/page/1") + &get("/page/200000"))?;
    wire.close_half()?;
    wire.is_page(1)?;
    wire.is_page(200_000)?;
    wire.ends()
}

fn reads_a_long_page(address: SocketAddr) -> Seen {
    Wire::connect(address)?.page(4_000_000)
}

fn sends_byte_by_byte(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    let headers = "transfer-encoding: chunked\r\nexpect: 100-continue\r\n";
    let request = with("/page/1", headers) + "5\r\nhello\r\n0\r\n\r\n" + &get("/page/2");
    for byte in request.into_bytes() {
        wire.send([byte])?;
    }
    wire.answer()?.is(100)?;
    wire.is_page(1)?;
    wire.is_page(2)
}

fn reads_slowly(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    let n = 16 << 20; // more than the kernel holds, so that the server has to wait
    wire.send(get(&format!("/page/{n}")) + &get("/page/3"))?;
    while wire.input.len() < n {
        thread::sleep(Duration::from_micros(200)); // its part: it is slow
        if wire.more()? == 0 {
            return Err(format!("{} of {n} bytes came", wire.input.len()));
        }
    }
    wire.is_page(n as u64)?;
    wire.is_page(3)
}

// ---- the bad ones --------------------------------------------------------------------------

fn comes_and_goes(address: SocketAddr) -> Seen {
    (0..100).try_for_each(|_| Wire::connect(address).map(drop))
}

fn resets(address: SocketAddr, after: &str) -> Seen {
    for _ in 0..20 {
        let mut wire = Wire::connect(address)?;
        wire.send(after)?;
        wire.reset()?;
    }
    Ok(())
}

fn resets_in_a_long_page(address: SocketAddr) -> Seen {
    for _ in 0..5 {
        let mut wire = Wire::connect(address)?;
        wire.send(get("/page/16777216"))?;
        wire.head()?.is(200)?;
        wire.reset()?;
    }
    Ok(())
}

fn closes_in_a_request(address: SocketAddr) -> Seen {
    for half in ["G", "GET / HTTP/1.1\r\nhost", &with("/", "content-length: 5\r\n")] {
        let mut wire = Wire::connect(address)?;
        wire.send(half)?;
        wire.close_half()?;
        wire.ends()?;
    }
    Ok(())
}

/// Sends `input`, which must be refused with `status`. The refusal must arrive even if more of the
/// input is still being sent.
fn refused(address: SocketAddr, input: &[u8], status: u16) -> Seen {
    for _ in 0..5 {
        let mut wire = Wire::connect(address)?;
        wire.send(input)?;
        let answer = wire.answer()?;
        answer.is(status)?;
        answer.says("connection", Some("close"))?;
        wire.ends()?;
    }
    Ok(())
}

const TLS_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8f\x1c\xa5\x0b\x77\x12\
    \xe4\x9a\x00\x00\x3e\x13\x02\x13\x03\x13\x01\xc0\x2c\xc0\x30\x00\x9f\xcc\xa9\xcc\xa8\xcc\xaa";

fn long_head(length: usize) -> String {
    with("/page/1", &format!("x: {}\r\n", "y".repeat(length)))
}

fn many_headers() -> String {
    with("/page/1", &"x: y\r\n".repeat(200))
}

fn conflicting_lengths(address: SocketAddr) -> Seen {
    for headers in [
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 1, 2\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "content-length: -1\r\n",
    ] {
        let request = with("/page/1", headers) + "0\r\n\r\n" + &get("/page/2");
        refused(address, request.as_bytes(), 400).map_err(|e| format!("{headers:?}: {e}"))?;
    }
    Ok(())
}

fn broken_chunk(address: SocketAddr) -> Seen {
    let request = with("/page/1", "transfer-encoding: chunked\r\n") + "five\r\nhello\r\n";
    refused(address, request.as_bytes(), 400)
}

fn long_body(address: SocketAddr) -> Seen {
    let body = "x".repeat(40_000);
    let sized = with("/page/1", "content-length: 40000\r\n") + &body;
    refused(address, sized.as_bytes(), 413)?;
    let chunked = with("/page/1", "transfer-encoding: chunked\r\n");
    let chunked = format!("{chunked}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    refused(address, chunked.as_bytes(), 413)
}

fn other_methods(address: SocketAddr) -> Seen {
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "BREW"] {
        let request =
            format!("{method} /page/1 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi");
        refused(address, request.as_bytes(), 405).map_err(|e| format!("{method}: {e}"))?;
    }
    let mut wire = Wire::connect(address)?;
    wire.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n")?;
    wire.answer()?.says("allow", Some("get, head"))
}

fn unknown_paths(address: SocketAddr) -> Seen {
    for path in ["/nothing", "/page", "/page/", "/page/x", "/page/-1", "/page/1/2", "/../etc"] {
        refused(address, get(path).as_bytes(), 404).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(())
}

fn bad_delays(address: SocketAddr) -> Seen {
    for delay in ["x", "", "-1", "1.5", "60001", "99999999999999999999"] {
        let request = get(&format!("/page/1?delay={delay}"));
        refused(address, request.as_bytes(), 400).map_err(|e| format!("{delay:?}: {e}"))?;
    }
    Ok(())
}

/// More than a server drains. It must be cut off; it may or may not see the reason.
fn pours_garbage(address: SocketAddr) -> Seen {
    let mut wire = Wire::connect(address)?;
    let garbage = vec![0x17; 64 * 1024];
    for _ in 0..1024 {
        if wire.send(&garbage).is_err() {
            return Ok(());
        }
    }
    Err("64 MiB of garbage were taken".into())
}

// ---- the many ------------------------------------------------------------------------------

/// Many idle connections: a client beside them is served.
pub fn idle_crowd(address: SocketAddr, many: usize) -> Seen {
    let wires: Result<Vec<_>, _> = (0..many).map(|_| Wire::connect(address)).collect();
    let wires = wires?;
    well_behaved(address)?;
    drop(wires);
    Ok(())
}

/// Many pages that come after a delay: a client beside them is served. None of them has come by
/// then, so the server waits for all of them at the same time.
pub fn waiting_crowd(address: SocketAddr, many: usize, delay: Duration) -> Seen {
    let mut wires = Vec::new();
    for _ in 0..many {
        let mut wire = Wire::connect(address)?;
        wire.send(get(&format!("/page/1?delay={}", delay.as_millis())))?;
        wires.push(wire);
    }
    well_behaved(address)?;
    for wire in wires {
        wire.socket.set_nonblocking(true).map_err(words("a socket option"))?;
        match wire.socket.peek(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => return Err(format!("a page came at once, or an end: {other:?}")),
        }
    }
    Ok(())
}

/// What a server does with one connection too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// It is answered 503.
    Told,
    /// It waits, unanswered, until another disconnects.
    Waits,
}

/// Opens as many connections as the server holds, then one more.
pub fn one_too_many(address: SocketAddr, holds: usize) -> Result<Full, String> {
    let mut wires = Vec::new();
    for _ in 0..holds {
        let mut wire = Wire::connect(address)?;
        wire.page(1)?; // it is accepted, not only in the backlog
        wires.push(wire);
    }
    let mut late = Wire::connect(address)?;
    late.send(get("/page/1"))?;
    let soon = Some(Duration::from_secs(1));
    late.socket.set_read_timeout(soon).map_err(words("a socket option"))?;
    match late.socket.peek(&mut [0]) {
        Ok(_) => {
            late.answer()?.is(503)?;
            late.ends()?;
            Ok(Full::Told)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            wires.pop();
            late.socket.set_read_timeout(Some(SAFETY)).map_err(words("a socket option"))?;
            late.is_page(1)?;
            Ok(Full::Waits)
        }
        Err(error) => Err(format!("one too many: {error}")),
    }
}

// ---- the slow ones -------------------------------------------------------------------------

fn waits_for_408(address: SocketAddr, most: Duration, half: &str) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.waits_at_most(most)?;
    wire.page(1)?;
    wire.send(half)?;
    wire.answer()?.is(408)?;
    wire.ends()
}

/// One byte after another, for longer than a request may take: a byte must not extend the time.
fn drips(address: SocketAddr, most: Duration) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.send("GET /page/1 HTTP/1.1\r\nx: ")?;
    wire.waits_at_most(Duration::from_millis(50))?;
    let deadline = Instant::now() + most;
    while Instant::now() < deadline {
        match wire.socket.peek(&mut [0]) {
            Ok(_) => {
                wire.answer()?.is(408)?;
                return wire.ends();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wire.send("y")?,
            Err(error) => return Err(format!("dripping: {error}")),
        }
    }
    Err("may send byte by byte forever".into())
}

fn is_idle(address: SocketAddr, most: Duration, after_a_page: bool) -> Seen {
    let mut wire = Wire::connect(address)?;
    wire.waits_at_most(most)?;
    if after_a_page {
        wire.page(1)?;
    }
    wire.ends()
}

/// Requests page after page and reads none. In the end the server must neither take more requests
/// nor keep the connection.
fn never_reads(address: SocketAddr, most: Duration) -> Seen {
    let mut wire = Wire::connect(address)?;
    let asked = get("/page/16777216").repeat(1000);
    wire.socket.set_nonblocking(true).map_err(words("a socket option"))?;
    let deadline = Instant::now() + most;
    let mut taken = 0;
    loop {
        match wire.socket.write(asked.as_bytes()) {
            Ok(n) => taken += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Ok(()), // cut off
        }
        if taken > 64 << 20 {
            return Err("64 MiB of requests were taken".into());
        }
        if Instant::now() > deadline {
            return Err("kept forever".into());
        }
        let fd = wire.socket.as_fd();
        let mut polled = [PollFd::new(fd, PollFlags::POLLOUT)];
        poll(&mut polled, PollTimeout::from(100u8)).map_err(|e| format!("poll: {e}"))?;
    }
}
