//! One server connection without IO. It says what it wants next; a style's server does just that:
//!
//! ```text
//! let mut conn = Conn::new(limits);
//! loop {
//!     match conn.wants() {
//!         Wants::Read => read, then conn.received(&buf[..n])
//!         Wants::Write => write conn.output(), then conn.sent(n)
//!         Wants::Wait => wait for conn.time_left()
//!         Wants::ShutdownWrite => shut down for writing, then conn.write_shut()
//!         Wants::Close => return
//!     }
//! }
//! ```
//!
//! No wait may take longer than [`Conn::time_left`]. [`Conn::done`] takes how each step ended, and
//! decides what errors and timeouts mean. These verbs read the clock; the functions behind them
//! take the time as `now`, so that tests need not wait.

use std::io;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::http::page::{Page, number};
use crate::http::request::{Head, KEPT, Next, Refusal, Request, Requests};
use crate::limits::Limits;

/// How many bytes a peer may still send after its last answer.
pub const MAX_DRAIN: usize = 64 * 1024;

/// How much of an answer is made at a time.
const PIECE: usize = 16 * 1024;

const INDEX: &str = "<!doctype html>\n<title>pages</title>\n<ul>\n\
    <li><a href=\"/page/1\">/page/1</a>: a page; page N is N bytes long,\n\
    but at least 1024 and at most 16777216\n\
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
    /// For [`Conn::time_left`] to pass: the page was requested with a delay.
    Wait,
    /// The socket to be shut down for writing. Then it reads until the peer closes: a socket that
    /// is closed with unread bytes in it resets the connection, and the peer never sees the answer.
    ShutdownWrite,
    /// The end.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two requests.
    Idle,
    /// A request has begun.
    Asking,
    /// A request will be answered from `ready` on. What has been told to wait stays so until the
    /// end of that step, whatever the clock says meanwhile.
    Waiting {
        ready: Instant,
    },
    /// A request is answered.
    Answering,
    /// The last answer is sent; the socket is not yet shut down for writing.
    ShuttingDown,
    /// The peer has not closed yet.
    Draining,
    Closed,
}

/// One server connection without IO.
pub struct Conn {
    limits: Limits,
    state: State,
    requests: Requests,
    out: Vec<u8>,
    /// How many bytes of `out` are sent.
    sent: usize,
    /// The part of the body that is not in `out` yet. A piece is made when the previous one is
    /// sent, so a long page needs no more memory than a short one.
    page: Page,
    /// Close after this answer.
    last: bool,
    peer_closed: bool,
    drained: usize,
    /// The current answer is what was requested, not a refusal.
    good: bool,
    served: u64,
    /// When the current want times out.
    deadline: Instant,
    /// Set when the server shuts down: the end of its grace period.
    end: Option<Instant>,
}

impl Conn {
    /// A connection that has just been accepted.
    pub fn new(limits: Limits) -> Conn {
        Conn::new_at(limits, Instant::now())
    }

    /// A connection too many: it is answered 503 and closed, whatever the request is.
    pub fn too_many(limits: Limits) -> Conn {
        let now = Instant::now();
        let mut conn = Conn::new_at(limits, now);
        // Without a body, because the request may be a HEAD: it is not known yet.
        conn.refuse(&Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ""), now);
        conn
    }

    /// What to do next.
    pub fn wants(&self) -> Wants {
        self.wants_at(Instant::now())
    }

    /// How long the current want may take. Never zero: to a socket, zero means "forever".
    pub fn time_left(&self) -> Duration {
        self.time_left_at(Instant::now())
    }

    /// Takes what the peer sent; nothing (`&[]`) when it closed.
    ///
    /// Bytes that arrive while something else is wanted are kept, up to [`MAX_DRAIN`]. Beyond that
    /// the connection ends after the current answer.
    pub fn received(&mut self, bytes: &[u8]) {
        self.received_at(bytes, Instant::now());
    }

    /// The bytes to write. Any number of them may be written.
    pub fn output(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// Says that the first `n` bytes of [`Conn::output`] are written.
    pub fn sent(&mut self, n: usize) {
        self.sent_at(n, Instant::now());
    }

    /// Says that the socket is shut down for writing.
    pub fn write_shut(&mut self) {
        if self.state == State::ShuttingDown {
            self.state = State::Draining;
        }
    }

    /// Takes the result of the step that was wanted, after every step. An error ends only this
    /// connection. An interruption by a signal is not an error, and neither is a timeout: then half
    /// a request is answered 408, and everything else is closed without an answer.
    pub fn done(&mut self, result: io::Result<()>) {
        self.done_at(result, Instant::now());
    }

    /// Whether no request is under way: a server that shuts down may close it at once.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Says that the server shuts down: a request that has begun is answered within the grace
    /// period, then the connection closes. An idle connection closes now.
    pub fn shutdown_requested(&mut self) {
        self.shutdown_requested_at(Instant::now());
    }

    /// Whether [`Conn::shutdown_requested`] was called.
    pub fn is_shutting_down(&self) -> bool {
        self.end.is_some()
    }

    /// How many requests have been answered to the last byte, refusals not counted.
    pub fn served(&self) -> u64 {
        self.served
    }
}

impl Conn {
    fn new_at(limits: Limits, now: Instant) -> Conn {
        Conn {
            limits,
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
            deadline: now + limits.idle,
            end: None,
        }
    }

    fn wants_at(&self, now: Instant) -> Wants {
        if self.end.is_some_and(|end| end <= now) {
            return Wants::Close;
        }
        match self.state {
            State::Idle | State::Draining => Wants::Read,
            State::Asking if self.output().is_empty() => Wants::Read,
            State::Waiting { .. } => Wants::Wait,
            State::Asking | State::Answering => Wants::Write, // 100 Continue, or the answer
            State::ShuttingDown => Wants::ShutdownWrite,
            State::Closed => Wants::Close,
        }
    }

    fn time_left_at(&self, now: Instant) -> Duration {
        let until = match self.state {
            State::Waiting { ready } => ready.min(self.deadline()),
            _ => self.deadline(),
        };
        until.saturating_duration_since(now).max(Duration::from_millis(1))
    }

    fn deadline(&self) -> Instant {
        self.end.map_or(self.deadline, |end| self.deadline.min(end))
    }

    fn received_at(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            self.peer_closed = true;
            // The peer may have closed only its sending side: its requests are answered.
            if self.output().is_empty() {
                self.state = State::Closed;
            }
            return;
        }
        match self.state {
            State::Idle | State::Asking => {
                self.requests.push(bytes);
                if self.output().is_empty() {
                    self.advance(now);
                }
            }
            State::Waiting { .. } | State::Answering if self.last => {}
            State::Waiting { .. } | State::Answering
                if self.requests.buffered() + bytes.len() > MAX_DRAIN =>
            {
                self.last = true;
            }
            State::Waiting { .. } | State::Answering => self.requests.push(bytes),
            State::ShuttingDown | State::Draining => {
                self.drained += bytes.len();
                if self.drained > MAX_DRAIN {
                    self.state = State::Closed;
                }
            }
            State::Closed => {}
        }
    }

    /// The time limit is for a piece, not for a byte, and a late write does not count. If a write
    /// is tried again after the limit, the kernel may take more although the peer has read nothing.
    fn sent_at(&mut self, n: usize, now: Instant) {
        self.sent = self.out.len().min(self.sent + n);
        let unsent = self.sent < self.out.len();
        if unsent || self.page.left() > 0 {
            self.timed_out(now);
        }
        if unsent || self.state == State::Closed {
            return;
        }
        self.sent = 0;
        self.out.clear();
        match self.state {
            State::Answering if self.page.left() > 0 => {
                self.page.fill(&mut self.out, PIECE);
                self.deadline = now + self.limits.write;
            }
            State::Answering => self.answered(now),
            State::Asking => self.advance(now), // 100 Continue is out
            State::Idle
            | State::Waiting { .. }
            | State::ShuttingDown
            | State::Draining
            | State::Closed => {}
        }
    }

    fn done_at(&mut self, result: io::Result<()>, now: Instant) {
        if matches!(self.state, State::Waiting { ready } if ready <= now) {
            self.state = State::Answering;
        }
        match result.map_err(|error| error.kind()) {
            Ok(()) | Err(io::ErrorKind::Interrupted) => {}
            // A socket with a timeout returns WouldBlock when it expires; a nonblocking one returns
            // it too early.
            Err(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => self.timed_out(now),
            Err(_) => self.state = State::Closed,
        }
    }

    fn timed_out(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        match self.state {
            State::Asking if self.output().is_empty() => {
                let head_only = self.requests.is_head();
                let why = "the request took too long";
                let refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, why);
                self.refuse(&refusal.head_only(head_only), now);
            }
            _ => self.state = State::Closed,
        }
    }

    fn shutdown_requested_at(&mut self, now: Instant) {
        self.end.get_or_insert(now + self.limits.grace);
        if self.state == State::Idle {
            self.state = State::Closed;
        }
    }

    /// Takes the next step that needs no IO.
    fn advance(&mut self, now: Instant) {
        match self.requests.next() {
            Next::Answer(request) => self.answer(&request, now),
            Next::Continue(bytes) => {
                self.out = bytes;
                self.ask(now);
            }
            Next::More if self.peer_closed => self.state = State::Closed,
            Next::More if self.requests.begun() => self.ask(now),
            Next::More if self.end.is_some() => self.shut_down(now),
            Next::More if self.state == State::Idle => {}
            Next::More => {
                self.state = State::Idle;
                self.deadline = now + self.limits.idle;
                if self.out.capacity() > KEPT {
                    self.out = Vec::new();
                }
            }
            Next::Refuse(refusal) => self.refuse(&refusal, now),
        }
    }

    /// Waits for the rest of a request. Its time starts with its first byte: a peer that sends it
    /// byte by byte must not renew it.
    fn ask(&mut self, now: Instant) {
        if self.state != State::Asking {
            self.state = State::Asking;
            self.deadline = now + self.limits.request;
        }
    }

    fn answer(&mut self, request: &Request, now: Instant) {
        self.last = !request.keep_alive || (self.end.is_some() && !self.requests.begun());
        let (page, index, delay) = match route(request) {
            Ok(Target::Page { n, delay }) => (Page::new(n), "", delay),
            Ok(Target::Index) => (Page::empty(), INDEX, Duration::ZERO),
            Err(refusal) => return self.refuse(&refusal.to(request), now),
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
        let ready = now + delay;
        self.state = if delay.is_zero() { State::Answering } else { State::Waiting { ready } };
        self.deadline = ready + self.limits.write;
    }

    fn refuse(&mut self, refusal: &Refusal, now: Instant) {
        refusal.write(&mut self.out);
        self.last = true;
        self.good = false;
        self.state = State::Answering;
        self.deadline = now + self.limits.write;
    }

    /// An answer is out.
    fn answered(&mut self, now: Instant) {
        self.served += u64::from(self.good);
        if self.last {
            self.shut_down(now);
        } else {
            self.advance(now);
        }
    }

    fn shut_down(&mut self, now: Instant) {
        self.requests = Requests::default();
        self.out = Vec::new();
        if self.peer_closed {
            self.state = State::Closed;
        } else {
            self.state = State::ShuttingDown;
            self.deadline = now + self.limits.grace;
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
