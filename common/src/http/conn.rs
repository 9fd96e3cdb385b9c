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

use ureq_proto::http::StatusCode;

use crate::http::page::Page;
use crate::http::request::{Head, KEPT, Next, Refusal, Request, Requests, number};

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

#[cfg(test)]
mod tests;
