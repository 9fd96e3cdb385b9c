//! One server connection without IO. It says what it wants next; a style's server does just that:
//!
//! ```text
//! let mut conn = Conn::new();
//! loop {
//!     match conn.wants() {
//!         Wants::Read => read, then conn.received(&buf[..n])
//!         Wants::Write => write conn.output(), then conn.sent(n)
//!         Wants::Wait(pause) => wait that long
//!         Wants::Drain => shut down for writing, read, then conn.received(&buf[..n])
//!         Wants::Close => return
//!     }
//! }
//! ```
//!
//! No wait may take longer than [`Conn::patience`]; if it does, [`Conn::timed_out`] decides what
//! that means. [`Conn::done`] takes what came of a step, errors and timeouts. The requests are parsed by `ureq-proto`; what a server must add is written here:
//! limits, which heads are refused, the answers, and an end that lets the peer see them.

use std::io;
use std::time::{Duration, Instant};

use ureq_proto::http::{self, HeaderMap, Method, StatusCode, Version, header};
use ureq_proto::server::{RecvRequestResult, Reply, state::RecvBody};
use ureq_proto::{BodyMode, Error};

use crate::site::Page;

/// The longest request head, in bytes. A longer one is answered 431.
pub const MAX_HEAD: usize = 8 * 1024;
/// The longest request body, in bytes with its chunk sizes. It is read and thrown away; a longer
/// one is answered 413.
pub const MAX_REQUEST_BODY: usize = 16 * 1024;
/// The longest `?delay=`, in milliseconds.
pub const MAX_DELAY: u64 = 60_000;
/// How many bytes a peer may still send after its last answer.
pub const MAX_DRAIN: usize = 64 * 1024;
/// How long a request may take from its first byte to its last.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take no byte of its answer.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection is kept on which nothing is asked.
pub const IDLE_PATIENCE: Duration = Duration::from_secs(5);
/// How long draining takes at most, and how long a stopping server still answers.
pub const GRACE: Duration = Duration::from_secs(1);

/// How much of a page is made at a time.
const PIECE: usize = 16 * 1024;
/// A buffer that grew beyond this is given back when its request is over.
const KEPT: usize = 4 * 1024;

const INDEX: &str = "<!doctype html>\n<title>pages</title>\n<ul>\n\
    <li><a href=\"/page/1\">/page/1</a>: a page; page N is N bytes long, at least 1024\n\
    <li><a href=\"/page/100000\">/page/100000</a>: a longer one\n\
    <li><a href=\"/page/1?delay=1000\">/page/1?delay=1000</a>: one that takes a second\n\
    </ul>\n";

/// What a connection waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Bytes from the peer.
    Read,
    /// The peer to take [`Conn::output`].
    Write,
    /// That this much time goes by: the page was asked for with a delay.
    Wait(Duration),
    /// The socket shut down for writing, then bytes from the peer until it closes. A socket that
    /// is closed with unread bytes in it resets the connection, and the peer never sees the answer.
    Drain,
    /// The end.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two requests.
    Idle,
    /// A request has begun.
    Asking,
    /// A request is answered, from `ready` on.
    Answering {
        ready: Instant,
    },
    /// The last answer is out; the peer has yet to close.
    Draining,
    Closed,
}

/// One server connection without IO.
pub struct Conn {
    state: State,
    requests: Requests,
    out: Vec<u8>,
    /// How many bytes of `out` are sent.
    sent: usize,
    /// The part of the body that is not in `out` yet. One piece is made when the last is sent, so
    /// a long page needs no more memory than a short one.
    page: Page,
    /// Close after this answer.
    last: bool,
    peer_closed: bool,
    drained: usize,
    /// The present answer is what was asked for, no refusal.
    good: bool,
    served: u64,
    /// When the present want has taken too long.
    deadline: Instant,
    /// Set when the server stops: when its grace is over.
    stop: Option<Instant>,
}

impl Default for Conn {
    fn default() -> Conn {
        Conn::new()
    }
}

impl Conn {
    /// A connection that has just been accepted.
    pub fn new() -> Conn {
        Conn {
            state: State::Idle,
            requests: Requests::default(),
            out: Vec::new(),
            sent: 0,
            page: Page::empty(),
            last: false,
            peer_closed: false,
            drained: 0,
            good: false,
            served: 0,
            deadline: Instant::now() + IDLE_PATIENCE,
            stop: None,
        }
    }

    /// A connection too many: it is told so (503) and closed, whatever it asks.
    pub fn too_many() -> Conn {
        let mut conn = Conn::new();
        conn.refuse(&Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many connections"));
        conn
    }

    /// What to do next.
    pub fn wants(&self) -> Wants {
        if self.stop.is_some_and(|stop| stop <= Instant::now()) {
            return Wants::Close;
        }
        match self.state {
            State::Idle => Wants::Read,
            State::Asking if self.output().is_empty() => Wants::Read,
            State::Asking => Wants::Write, // 100 Continue
            State::Answering { ready } => {
                let pause = ready.saturating_duration_since(Instant::now());
                if pause.is_zero() {
                    Wants::Write
                } else {
                    Wants::Wait(pause.min(self.patience())) // the stop may come first
                }
            }
            State::Draining => Wants::Drain,
            State::Closed => Wants::Close,
        }
    }

    /// How long the present want may take. Never zero, since a socket takes zero for "forever".
    pub fn patience(&self) -> Duration {
        let left = self.deadline().saturating_duration_since(Instant::now());
        left.max(Duration::from_millis(1))
    }

    fn deadline(&self) -> Instant {
        self.stop.map_or(self.deadline, |stop| self.deadline.min(stop))
    }

    /// Takes what the peer sent; nothing (`&[]`) when it closed.
    ///
    /// Bytes that come while something else is wanted are kept, up to [`MAX_DRAIN`]. Beyond that
    /// the connection ends with the present answer.
    pub fn received(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.peer_closed = true;
            // It may have closed its sending side only: what it has asked is answered.
            if self.output().is_empty() {
                self.state = State::Closed;
            }
            return;
        }
        match self.state {
            State::Idle | State::Asking => {
                self.requests.push(bytes);
                if self.output().is_empty() {
                    self.advance();
                }
            }
            State::Answering { .. } if self.last => {}
            State::Answering { .. } if self.requests.buffered() + bytes.len() > MAX_DRAIN => {
                self.last = true;
            }
            State::Answering { .. } => self.requests.push(bytes),
            State::Draining => {
                self.drained += bytes.len();
                if self.drained > MAX_DRAIN {
                    self.state = State::Closed;
                }
            }
            State::Closed => {}
        }
    }

    /// The bytes to write; any number of them may be taken.
    pub fn output(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// Says that the first `n` bytes of [`Conn::output`] are written.
    pub fn sent(&mut self, n: usize) {
        self.sent = self.out.len().min(self.sent + n);
        if matches!(self.state, State::Answering { .. }) && n > 0 {
            self.deadline = Instant::now() + WRITE_PATIENCE;
        }
        if self.sent < self.out.len() {
            return;
        }
        self.sent = 0;
        self.out.clear();
        match self.state {
            State::Answering { .. } if self.page.left() > 0 => self.page.fill(&mut self.out, PIECE),
            State::Answering { .. } => self.answered(),
            State::Asking => self.advance(), // 100 Continue is out
            State::Idle | State::Draining | State::Closed => {}
        }
    }

    /// Says that the present want has taken longer than [`Conn::patience`]. Half a request is
    /// answered 408; everything else closes without a word.
    pub fn timed_out(&mut self) {
        match self.state {
            State::Asking if self.output().is_empty() => {
                self.refuse(&Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request took too long",
                ));
            }
            State::Answering { ready } if ready > Instant::now() => {}
            _ => self.state = State::Closed,
        }
    }

    /// Takes how the step went that was wanted. An error is the end of this connection only; that
    /// a signal came in between, or that the time is over ([`Conn::timed_out`]), is none.
    pub fn done(&mut self, result: io::Result<()>) {
        match result.map_err(|error| error.kind()) {
            Ok(()) | Err(io::ErrorKind::Interrupted) => {}
            // A socket that has a timeout says WouldBlock; one that does not wait says so too soon.
            Err(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                if self.deadline() <= Instant::now() {
                    self.timed_out();
                }
            }
            Err(_) => self.state = State::Closed,
        }
    }

    /// Whether nothing is asked at present: if the server stops, the peer need not be heard out.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Says that the server stops: what has been asked is answered within [`GRACE`], then the
    /// connection closes. An idle one closes now.
    pub fn finish(&mut self) {
        if self.stop.is_none() {
            self.stop = Some(Instant::now() + GRACE);
        }
        if self.state == State::Idle {
            self.state = State::Closed;
        }
    }

    /// Whether it has been said that the server stops.
    pub fn is_finishing(&self) -> bool {
        self.stop.is_some()
    }

    /// How many requests have been answered to the last byte, refusals not counted.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Takes the next step that needs no IO.
    fn advance(&mut self) {
        match self.requests.next() {
            Next::Answer(request) => self.answer(&request),
            Next::Continue(bytes) => {
                self.out = bytes;
                self.ask();
            }
            Next::More if self.peer_closed => self.state = State::Closed,
            Next::More if self.requests.begun() => self.ask(),
            Next::More if self.stop.is_some() => self.drain(),
            Next::More => {
                self.state = State::Idle;
                self.deadline = Instant::now() + IDLE_PATIENCE;
                if self.out.capacity() > KEPT {
                    self.out = Vec::new();
                }
            }
            Next::Refuse(refusal) => self.refuse(&refusal),
        }
    }

    /// The rest of a request is awaited. Its time runs from its first byte: a peer that drips must
    /// not renew it.
    fn ask(&mut self) {
        if self.state != State::Asking {
            self.state = State::Asking;
            self.deadline = Instant::now() + REQUEST_PATIENCE;
        }
    }

    fn answer(&mut self, request: &Request) {
        self.last = !request.keep_alive || (self.stop.is_some() && !self.requests.begun());
        let (page, index, delay) = match route(request) {
            Ok(Target::Page { n, delay }) => (Page::new(n), "", delay),
            Ok(Target::Index) => (Page::empty(), INDEX, Duration::ZERO),
            Err(refusal) => return self.refuse(&refusal.to(request)),
        };
        let kind = if index.is_empty() { "text/plain" } else { "text/html" };
        let length = page.left() + index.len() as u64;
        Head::ok(kind).length(length).connection(request, self.last).write(&mut self.out);
        if !request.head_only {
            self.out.extend_from_slice(index.as_bytes());
            self.page = page;
            self.page.fill(&mut self.out, PIECE);
        }
        self.good = true;
        let ready = Instant::now() + delay;
        self.state = State::Answering { ready };
        self.deadline = ready + WRITE_PATIENCE;
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let now = Instant::now();
        refusal.write(&mut self.out);
        self.last = true;
        self.good = false;
        self.state = State::Answering { ready: now };
        self.deadline = now + WRITE_PATIENCE;
    }

    /// An answer is out.
    fn answered(&mut self) {
        self.served += u64::from(self.good);
        if self.last {
            self.drain();
        } else {
            self.advance();
        }
    }

    fn drain(&mut self) {
        self.requests = Requests::default();
        self.out = Vec::new();
        if self.peer_closed {
            self.state = State::Closed;
        } else {
            self.state = State::Draining;
            self.deadline = Instant::now() + GRACE;
        }
    }
}

enum Target {
    Index,
    Page { n: u64, delay: Duration },
}

fn route(request: &Request) -> Result<Target, Refusal> {
    if request.path == "/" {
        return Ok(Target::Index);
    }
    let n = request.path.strip_prefix("/page/").and_then(number);
    let n = n.ok_or(Refusal::new(StatusCode::NOT_FOUND, "no such page"))?;
    let delay = request.delay()?;
    Ok(Target::Page { n, delay })
}

/// Digits only: `u64::from_str` would take a `+` too.
pub(crate) fn number(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A request that has come in whole, its body read and thrown away. Only GET and HEAD get here.
pub(crate) struct Request {
    pub path: String,
    pub query: String,
    pub head_only: bool,
    pub keep_alive: bool,
    pub http10: bool,
}

impl Request {
    fn new(request: &http::Request<()>) -> Request {
        let http10 = request.version() == Version::HTTP_10;
        let headers = request.headers();
        let close = has_token(headers, header::CONNECTION, "close");
        let keep = !http10 || has_token(headers, header::CONNECTION, "keep-alive");
        Request {
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or("").to_owned(),
            head_only: request.method() == Method::HEAD,
            keep_alive: keep && !close,
            http10,
        }
    }

    /// The value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.query.split('&');
        parameters.find_map(|p| p.strip_prefix(name)?.strip_prefix('='))
    }

    /// The `?delay=` of the request.
    pub fn delay(&self) -> Result<Duration, Refusal> {
        let Some(text) = self.parameter("delay") else {
            return Ok(Duration::ZERO);
        };
        match number(text) {
            Some(ms) if ms <= MAX_DELAY => Ok(Duration::from_millis(ms)),
            _ => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "the delay must be a number of milliseconds up to 60000",
            )),
        }
    }
}

/// The requests of one connection, cut out of what arrives.
#[derive(Default)]
pub(crate) struct Requests {
    input: Vec<u8>,
    /// A request whose body is still coming.
    pending: Option<Box<Pending>>,
}

struct Pending {
    request: Request,
    reply: Reply<RecvBody>,
    /// How many bytes of the body have been read.
    read: usize,
}

/// What is to be done with what has arrived.
pub(crate) enum Next {
    /// Nothing yet: more bytes are needed.
    More,
    /// Send this (`100 Continue`) and go on reading.
    Continue(Vec<u8>),
    Answer(Request),
    /// Answer this and close: where the next request would begin is unknown or not to be trusted.
    Refuse(Refusal),
}

impl Requests {
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// How many bytes wait to be looked at.
    pub fn buffered(&self) -> usize {
        self.input.len()
    }

    /// Whether a request has begun to arrive.
    pub fn begun(&self) -> bool {
        !self.input.is_empty() || self.pending.is_some()
    }

    /// The next thing to do. Does not depend on how the bytes were cut into pieces.
    pub fn next(&mut self) -> Next {
        let result = match self.pending.take() {
            None => self.head(),
            Some(pending) => self.body(pending),
        };
        result.unwrap_or_else(Next::Refuse)
    }

    fn head(&mut self) -> Result<Next, Refusal> {
        if self.input.is_empty() {
            return Ok(Next::More);
        }
        let head = &self.input[..self.input.len().min(MAX_HEAD)];
        let mut reply = Reply::new().map_err(bad_request)?;
        // Without this the body of a HEAD would be read as the next request.
        reply.force_recv_body();
        let (used, request) = reply.try_request(head).map_err(bad_request)?;
        let Some(request) = request else {
            if head.len() < MAX_HEAD {
                return Ok(Next::More);
            }
            return Err(Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the head is longer than 8192 bytes",
            ));
        };
        self.discard(used);
        check(&request)?;
        let request = Request::new(&request);
        let (said, reply) = match reply.proceed() {
            Some(RecvRequestResult::Send100(reply)) => {
                let mut out = [0; 64];
                let (n, reply) = reply.accept(&mut out).map_err(bad_request)?;
                // HTTP/1.0 knows no 1xx.
                let said = if request.http10 { 0 } else { n };
                (out[..said].to_vec(), reply)
            }
            Some(RecvRequestResult::RecvBody(reply)) => (Vec::new(), reply),
            _ => return Ok(Next::Answer(request)),
        };
        if let BodyMode::LengthDelimited(n) = reply.body_mode()
            && n > MAX_REQUEST_BODY as u64
        {
            return Err(too_large().to(&request));
        }
        let pending = Box::new(Pending { request, reply, read: 0 });
        if said.is_empty() {
            return self.body(pending);
        }
        self.pending = Some(pending);
        Ok(Next::Continue(said))
    }

    fn body(&mut self, mut pending: Box<Pending>) -> Result<Next, Refusal> {
        let mut scratch = [0; 1024];
        while !pending.reply.is_ended() {
            // Never shown more than the limit, so that what is refused, and why, does not depend
            // on how much arrived at once.
            let seen = self.input.len().min(MAX_REQUEST_BODY - pending.read);
            let (used, _) = match pending.reply.read(&self.input[..seen], &mut scratch) {
                Ok(read) => read,
                Err(error) => return Err(bad_request(error).to(&pending.request)),
            };
            pending.read += used;
            self.discard(used);
            if used == 0 {
                if pending.read + seen >= MAX_REQUEST_BODY {
                    return Err(too_large().to(&pending.request));
                }
                self.pending = Some(pending);
                return Ok(Next::More);
            }
        }
        Ok(Next::Answer(pending.request))
    }

    fn discard(&mut self, n: usize) {
        self.input.drain(..n);
        if self.input.is_empty() && self.input.capacity() > KEPT {
            self.input = Vec::new();
        }
    }
}

/// What `ureq-proto` lets through and a server must not.
fn check(request: &http::Request<()>) -> Result<(), Refusal> {
    let headers = request.headers();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served"));
    }
    let head_only = request.method() == Method::HEAD;
    let refuse = |why| Err(Refusal { head_only, ..Refusal::new(StatusCode::BAD_REQUEST, why) });
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return refuse("exactly one Host header is needed");
    }
    // Two opinions on where a body ends let one peer smuggle requests past another.
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None)
            if coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && request.version() == Version::HTTP_11
                && !headers.contains_key(header::CONTENT_LENGTH) =>
        {
            Ok(())
        }
        _ => refuse("the length of the body is not clear"),
    }
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name);
    let mut values = lines.iter().filter_map(|value| value.to_str().ok());
    values.any(|line| line.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
}

fn bad_request(error: Error) -> Refusal {
    match error {
        Error::HttpParseTooManyHeaders => {
            Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
        }
        Error::TooManyContentLengthHeaders | Error::BadContentLengthHeader => {
            Refusal::new(StatusCode::BAD_REQUEST, "the length of the body is not clear")
        }
        _ => Refusal::new(StatusCode::BAD_REQUEST, "this is not HTTP/1.1"),
    }
}

fn too_large() -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 16384 bytes")
}

/// An answer that ends the connection, and the reason in words.
pub(crate) struct Refusal {
    status: StatusCode,
    why: &'static str,
    head_only: bool,
}

impl Refusal {
    pub fn new(status: StatusCode, why: &'static str) -> Refusal {
        Refusal { status, why, head_only: false }
    }

    /// The same, as an answer to `request`: that one may have been a HEAD.
    pub fn to(self, request: &Request) -> Refusal {
        Refusal { head_only: request.head_only, ..self }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let mut head = Head { status: self.status, ..Head::ok("text/plain") }
            .length(self.why.len() as u64 + 1);
        head.connection = "connection: close\r\n";
        head.write(out);
        if !self.head_only {
            out.extend_from_slice(self.why.as_bytes());
            out.push(b'\n');
        }
    }
}

/// The head of an answer.
pub(crate) struct Head {
    status: StatusCode,
    kind: &'static str,
    body: Body,
    connection: &'static str,
}

/// How the head says where the body ends.
enum Body {
    Sized(u64),
    Chunked,
    UntilClosed,
}

impl Head {
    pub fn ok(kind: &'static str) -> Head {
        Head { status: StatusCode::OK, kind, body: Body::UntilClosed, connection: "" }
    }

    pub fn length(mut self, length: u64) -> Head {
        self.body = Body::Sized(length);
        self
    }

    pub fn chunked(mut self) -> Head {
        self.body = Body::Chunked;
        self
    }

    /// What the peer must be told about the connection: HTTP/1.1 keeps it and HTTP/1.0 does not,
    /// unless it is said.
    pub fn connection(mut self, request: &Request, last: bool) -> Head {
        self.connection = match (last, request.http10) {
            (true, _) => "connection: close\r\n",
            (false, true) => "connection: keep-alive\r\n",
            (false, false) => "",
        };
        self
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let Head { status, kind, connection, .. } = self;
        let code = status.as_str();
        let reason = status.canonical_reason().unwrap_or("Unknown");
        let allow = match *status {
            StatusCode::METHOD_NOT_ALLOWED => "allow: GET, HEAD\r\n",
            _ => "",
        };
        let body = match self.body {
            Body::Sized(length) => &format!("content-length: {length}\r\n"),
            Body::Chunked => "transfer-encoding: chunked\r\n",
            Body::UntilClosed => "",
        };
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\ncontent-type: {kind}; charset=utf-8\r\n\
             {connection}{allow}{body}\r\n"
        );
        out.extend_from_slice(head.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site;

    /// Plays the style: hands over `pieces` one read after another, then the end, and takes `some`
    /// bytes of output at a time. Returns what the peer saw and how it ended.
    fn play(pieces: &[&[u8]], some: usize) -> (Vec<u8>, Conn) {
        let mut conn = Conn::new();
        let mut seen = Vec::new();
        let mut pieces = pieces.iter();
        loop {
            match conn.wants() {
                Wants::Read | Wants::Drain => conn.received(pieces.next().unwrap_or(&&[][..])),
                Wants::Write => {
                    assert!(!conn.output().is_empty(), "nothing to write");
                    let n = conn.output().len().min(some);
                    seen.extend_from_slice(&conn.output()[..n]);
                    conn.sent(n);
                }
                Wants::Wait(_) => no_delay(&mut conn),
                Wants::Close => return (seen, conn),
            }
            assert!(conn.requests.buffered() <= MAX_DRAIN + MAX_HEAD);
            assert!(conn.out.capacity() <= 2 * (PIECE + KEPT));
        }
    }

    fn no_delay(conn: &mut Conn) {
        conn.state = State::Answering { ready: Instant::now() };
    }

    fn text(input: &str) -> String {
        let (seen, _) = play(&[input.as_bytes()], usize::MAX);
        String::from_utf8(seen).expect("answers are text")
    }

    /// The status codes of the answers to `input`, in order.
    fn statuses(input: &str) -> Vec<u16> {
        let answers = text(input);
        let lines = answers.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
        lines.map(|l| l[..3].parse().expect("a status")).collect()
    }

    fn get(target: &str, more: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nhost: h\r\n{more}\r\n")
    }

    #[test]
    fn a_page() {
        let answer = text(&get("/page/2000", ""));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 2000"
        );
        assert_eq!(body.as_bytes(), site::page(2000));
    }

    #[test]
    fn a_long_page_is_made_in_pieces() {
        let n = 3_000_000;
        let (seen, conn) = play(&[get(&format!("/page/{n}"), "").as_bytes()], 5000);
        assert!(seen.ends_with(&site::page(n)));
        assert_eq!(conn.served(), 1);
    }

    #[test]
    fn the_index_lists_pages() {
        assert!(text(&get("/", "")).contains("href=\"/page/1\""));
    }

    #[test]
    fn absolute_form() {
        assert_eq!(statuses(&get("http://h:1/page/1?delay=0", "")), [200]);
    }

    #[test]
    fn head_has_no_body() {
        let answer = text("HEAD /page/2000 HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(answer.contains("content-length: 2000\r\n"));
        assert!(answer.ends_with("\r\n\r\n"));
        let answer = text("HEAD /nothing HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_delay_is_waited_for() {
        let mut conn = Conn::new();
        conn.received(get("/page/1?delay=60000", "").as_bytes());
        assert!(matches!(conn.wants(), Wants::Wait(pause) if pause > Duration::from_secs(1)));
        conn.timed_out(); // means nothing while the delay runs
        assert!(matches!(conn.wants(), Wants::Wait(_)));
        no_delay(&mut conn);
        assert_eq!(conn.wants(), Wants::Write);
    }

    #[test]
    fn what_is_refused() {
        let long = "x".repeat(MAX_HEAD);
        let many = "a: b\r\n".repeat(129);
        for (input, status) in [
            (get("/nothing", ""), 404),
            (get("/page/", ""), 404),
            (get("/page/x", ""), 404),
            (get("/page/+1", ""), 404),
            (get("/page/99999999999999999999999", ""), 404),
            (get("/page/1?delay=x", ""), 400),
            (get("/page/1?delay=", ""), 400),
            (get("/page/1?delay=-1", ""), 400),
            (get("/page/1?delay=60001", ""), 400),
            (get("/page/1", "host: g\r\n"), 400),
            ("GET / HTTP/1.1\r\n\r\n".into(), 400),
            ("POST / HTTP/1.1\r\nhost: h\r\n\r\n".into(), 405),
            ("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n".into(), 405),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
            ("GET / HTTP/3.7\r\n\r\n".into(), 400),
            ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into(), 400),
            ("\0\0\0".into(), 400),
            (get("/", &format!("a: {long}\r\n")), 431),
            (long.clone(), 431),
            (get("/", &many), 431),
            (get("/", "content-length: x\r\n"), 400),
            (get("/", "content-length: -1\r\n"), 400),
            (get("/", "content-length: 1, 2\r\n"), 400),
            (get("/", "content-length: 1\r\ncontent-length: 2\r\n"), 400),
            (get("/", "content-length: 3\r\ntransfer-encoding: chunked\r\n"), 400),
            (get("/", "transfer-encoding: gzip\r\n"), 400),
            (get("/", "transfer-encoding: chunked, gzip\r\n"), 400),
            (get("/", "content-length: 16385\r\n"), 413),
            (get("/", "transfer-encoding: chunked\r\n") + "4001\r\n" + &"x".repeat(0x4001), 413),
            (get("/", "transfer-encoding: chunked\r\n") + "x\r\n", 400),
        ] {
            // Whatever follows a refusal is not answered.
            let followed = input.clone() + &get("/page/1", "");
            assert_eq!(statuses(&followed), [status], "{input:?}");
            let answer = text(&input);
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer:?}");
        }
    }

    #[test]
    fn a_refused_connection_is_drained() {
        let mut conn = Conn::new();
        conn.received(b"GET /nothing HTTP/1.1\r\nhost: h\r\n\r\n");
        conn.sent(conn.output().len());
        for _ in 0..MAX_DRAIN / 1024 {
            assert_eq!(conn.wants(), Wants::Drain);
            assert!(conn.patience() <= GRACE);
            conn.received(&[b'x'; 1024]);
        }
        conn.received(b"x");
        assert_eq!(conn.wants(), Wants::Close);
        assert_eq!(conn.served(), 0);
    }

    #[test]
    fn bodies_are_read_and_thrown_away() {
        let two = get("/page/1", "");
        for body in [
            get("/page/1", "content-length: 5\r\n") + "hello",
            get("/page/1", "content-length: 5, 5\r\n") + "hello",
            get("/page/1", "transfer-encoding: chunked\r\n")
                + "5;x=y\r\nhello\r\n0\r\na: b\r\n\r\n",
            get("/page/1", "content-length: 16384\r\n") + &"x".repeat(MAX_REQUEST_BODY),
            "HEAD /page/1 HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello".into(),
        ] {
            assert_eq!(statuses(&(body + &two)), [200, 200]);
        }
    }

    #[test]
    fn expect_continue() {
        let head = get("/page/1", "content-length: 5\r\nexpect: 100-continue\r\n");
        assert_eq!(statuses(&(head.clone() + "hello")), [100, 200]);
        let old = head.replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(statuses(&(old + "hello")), [200]);
        let long = get("/", "content-length: 99999\r\nexpect: 100-continue\r\n");
        assert_eq!(statuses(&long), [413]);
        let post = head.replace("GET", "POST");
        assert_eq!(statuses(&(post + "hello")), [405]);
    }

    #[test]
    fn keep_alive_and_its_end() {
        let page = "GET /page/1 HTTP/1.0\r\n\r\n";
        let kept = "GET /page/1 HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n";
        assert_eq!(statuses(&get("/page/1", "").repeat(3)), [200; 3]);
        assert_eq!(statuses(&get("/page/1", "connection: x, Close\r\n").repeat(3)), [200]);
        assert_eq!(statuses(&page.repeat(3)), [200]);
        assert!(text(page).contains("connection: close\r\n"));
        assert_eq!(statuses(&kept.repeat(3)), [200; 3]);
        assert!(text(kept).contains("connection: keep-alive\r\n"));
    }

    #[test]
    fn pipelined_requests_are_answered_in_order() {
        let (mut asked, mut expected) = (String::new(), Vec::new());
        for n in 2000..2050 {
            asked += &get(&format!("/page/{n}"), "");
            expected.extend(site::page(n));
        }
        let (mut seen, conn) = play(&[asked.as_bytes()], usize::MAX);
        let head = |seen: &[u8]| seen.windows(4).position(|four| four == b"\r\n\r\n");
        let mut bodies = Vec::new();
        while let Some(end) = head(&seen) {
            seen.drain(..end + 4);
            let length = 2000 + bodies.len() / 2000; // 50 pages are too few to be off by one
            bodies.extend(seen.drain(..length));
        }
        assert!(bodies == expected, "other bodies, or in another order");
        assert_eq!(conn.served(), 50);
    }

    #[test]
    fn a_peer_that_never_reads_is_not_read_from() {
        let mut conn = Conn::new();
        conn.received(get("/page/1", "").repeat(50).as_bytes());
        assert_eq!(conn.wants(), Wants::Write);
        conn.timed_out();
        assert_eq!(conn.wants(), Wants::Close);
    }

    #[test]
    fn bytes_nobody_asked_for_are_bounded() {
        let mut conn = Conn::new();
        let asked = get("/page/1", "");
        for _ in 0..100_000 {
            conn.received(asked.as_bytes());
            assert!(conn.requests.buffered() <= MAX_DRAIN);
        }
        conn.sent(conn.output().len());
        assert_eq!(conn.wants(), Wants::Drain);
    }

    #[test]
    fn half_a_request_times_out() {
        let mut conn = Conn::new();
        conn.timed_out();
        assert_eq!(conn.wants(), Wants::Close, "idle: silently");

        for half in ["GET / HT".to_owned(), get("/", "content-length: 5\r\n") + "hel"] {
            let mut conn = Conn::new();
            conn.received(half.as_bytes());
            let deadline = conn.deadline;
            conn.received(b"T");
            assert_eq!(conn.deadline, deadline, "a dripping peer renews its time");
            assert!(conn.patience() > IDLE_PATIENCE);
            conn.timed_out();
            assert!(conn.output().starts_with(b"HTTP/1.1 408 "));
            conn.sent(conn.output().len());
            assert_eq!(conn.wants(), Wants::Drain);
            conn.timed_out();
            assert_eq!(conn.wants(), Wants::Close);
        }
    }

    #[test]
    fn a_stopping_server_answers_what_was_asked() {
        let mut idle = Conn::new();
        idle.finish();
        assert_eq!(idle.wants(), Wants::Close);

        let mut asked = Conn::new();
        asked.received(get("/page/1", "").repeat(2).as_bytes());
        asked.finish();
        for _ in 0..2 {
            assert_eq!(asked.wants(), Wants::Write);
            assert!(asked.patience() <= GRACE);
            asked.sent(asked.output().len());
        }
        assert_eq!(asked.served(), 2);
        assert_eq!(asked.wants(), Wants::Drain);

        let mut half = Conn::new();
        half.received(b"GET / HTTP/1.1\r\n");
        half.finish();
        assert_eq!(half.wants(), Wants::Read);
        half.received(b"host: h\r\n\r\n");
        let answer = String::from_utf8_lossy(half.output()).into_owned();
        assert!(answer.contains("connection: close\r\n"));
    }

    #[test]
    fn nothing_goes_on_after_the_grace() {
        let mut conn = Conn::new();
        conn.received(get("/page/1?delay=60000", "").as_bytes());
        conn.finish();
        assert!(matches!(conn.wants(), Wants::Wait(pause) if pause <= GRACE));
        conn.stop = Some(Instant::now());
        assert_eq!(conn.wants(), Wants::Close);
    }

    #[test]
    fn what_came_of_a_step() {
        use io::ErrorKind::{ConnectionReset, Interrupted, TimedOut, WouldBlock};
        let after = |kind: io::ErrorKind, late: bool| {
            let mut conn = Conn::new();
            if late {
                conn.deadline = Instant::now();
            }
            conn.done(Err(kind.into()));
            conn.wants()
        };
        for kind in [TimedOut, WouldBlock] {
            assert_eq!(after(kind, true), Wants::Close);
            assert_eq!(after(kind, false), Wants::Read, "too soon: try again");
        }
        assert_eq!(after(Interrupted, true), Wants::Read);
        assert_eq!(after(ConnectionReset, false), Wants::Close);
    }

    #[test]
    fn too_many_connections() {
        let mut conn = Conn::too_many();
        conn.received(get("/page/1", "").as_bytes());
        assert!(conn.output().starts_with(b"HTTP/1.1 503 "));
        conn.sent(conn.output().len());
        assert_eq!(conn.wants(), Wants::Drain);
        conn.received(&[]);
        assert_eq!(conn.wants(), Wants::Close);
    }

    #[test]
    fn the_end_of_the_peer() {
        // It asked, then closed its sending side: it is answered.
        let (seen, _) = play(&[get("/page/1", "").repeat(2).as_bytes()], 10);
        assert!(seen.ends_with(&site::page(1)));
        // In the middle of a request: there is nobody to answer.
        assert_eq!(text("GET / HTTP/1.1\r\nho"), "");
    }

    /// A small generator (xorshift): a failure can be repeated by its seed.
    struct Dice(u64);

    impl Dice {
        fn throw(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % below as u64) as usize
        }

        /// Something like what a peer sends, and often enough not at all like it.
        fn input(&mut self) -> Vec<u8> {
            const PARTS: &[&str] = &[
                "GET /page/1 HTTP/1.1\r\nhost: h\r\n\r\n",
                "GET /page/30000 HTTP/1.1\r\nhost: h\r\n\r\n",
                "GET /page/1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
                "HEAD /page/1 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nab",
                "GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
                "GET / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
                "3\r\nabc\r\n0\r\n\r\n",
                "5;a=b\r\nabcde\r\n",
                "0\r\na: b\r\n\r\n",
                "POST / HTTP/1.1\r\nhost: h\r\n",
                "content-length: 7\r\n",
                "connection: close\r\n",
                "\r\n",
                "\n",
                "a: b\r\n",
                "GET ",
                "/ ",
                "HTTP/1.1\r\n",
                "\u{ff}\0",
            ];
            let mut input = Vec::new();
            for _ in 0..self.throw(8) {
                match self.throw(12) {
                    0 => input.extend((0..self.throw(300)).map(|_| self.throw(256) as u8)),
                    1 => input.extend(vec![b'x'; self.throw(20_000)]),
                    2 => input.extend(b"x: y\r\n".repeat(self.throw(2_000))),
                    _ => input.extend(PARTS[self.throw(PARTS.len())].bytes()),
                }
            }
            if !input.is_empty() && self.throw(4) == 0 {
                let at = self.throw(input.len());
                input[at] = self.throw(256) as u8;
            }
            input
        }

        fn cut<'a>(&mut self, mut input: &'a [u8]) -> Vec<&'a [u8]> {
            let longest = [1, 5, 100, 5000][self.throw(4)];
            let mut pieces = Vec::new();
            while !input.is_empty() {
                let (piece, rest) = input.split_at(input.len().min(1 + self.throw(longest)));
                pieces.push(piece);
                input = rest;
            }
            pieces
        }
    }

    #[test]
    fn any_split_of_any_input_gets_the_same_answers() {
        for seed in 1..=300 {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
            let input = dice.input();
            let (whole, _) = play(&[&input], usize::MAX);
            let pieces = dice.cut(&input);
            let some = 1 + dice.throw(5000);
            let (split, _) = play(&pieces, some);
            assert!(
                whole == split,
                "seed {seed}: {}\nwhole: {}\nsplit: {}",
                String::from_utf8_lossy(&input),
                String::from_utf8_lossy(&whole),
                String::from_utf8_lossy(&split)
            );
        }
    }

    #[test]
    fn a_request_may_be_split_at_every_byte() {
        let request = get("/page/1", "expect: 100-continue\r\ntransfer-encoding: chunked\r\n")
            + "3\r\nabc\r\n0\r\n\r\n"
            + &get("/", "");
        let input = request.as_bytes();
        let (whole, _) = play(&[input], usize::MAX);
        for at in 1..input.len() {
            let (one, two) = input.split_at(at);
            assert!(play(&[one, two], usize::MAX).0 == whole, "split at {at}");
        }
    }
}
