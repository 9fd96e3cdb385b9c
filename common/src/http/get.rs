//! One GET without IO: the style connects, writes and reads. This says what to send, and what was
//! received.
//!
//! `httparse` parses the heads. What an answer says about its body is read as RFC 9112 defines it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use httparse::{EMPTY_HEADER, ParserConfig, Response, Status};
use percent_encoding::percent_decode_str;

use crate::http::body::{Body, Malformed, lines};
use crate::span::{Kind, Span, now};
use crate::workload::io_bound::{Job, Outcome, Page};

/// The longest head, chunk line or trailers of an answer, in bytes.
const MAX_UNPARSED: usize = 64 * 1024;

/// One page under way. It owns its time marks: no lock, no global.
pub struct Get {
    job: Job,
    request: Vec<u8>,
    deadline: Instant,
    started_us: u64,
    /// The line that began it: from there on it waits for a connection.
    began: &'static Location<'static>,
    requested_us: Cell<Option<u64>>,
    /// The line after which it waits for the answer.
    waits: Cell<&'static Location<'static>>,
    answered_us: Option<u64>,
    answer: Answer,
    unparsed: Vec<u8>,
    status: u16,
    length: u64,
    crc32: crc32fast::Hasher,
}

enum Answer {
    Head,
    Body(Body),
    Whole,
}

impl Get {
    /// Starts the time of the page: its timeout starts here.
    #[track_caller]
    pub fn new(job: Job) -> Get {
        let began = Location::caller();
        Get {
            request: request(&job.url),
            deadline: Instant::now() + job.timeout,
            started_us: now(),
            began,
            requested_us: Cell::new(None),
            waits: Cell::new(began),
            answered_us: None,
            answer: Answer::Head,
            unparsed: Vec::new(),
            status: 0,
            length: 0,
            crc32: crc32fast::Hasher::new(),
            job,
        }
    }

    /// Where to connect to: the addresses of the host's name, which was resolved before the run.
    /// Empty if it could not be resolved.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.job.addresses
    }

    /// The bytes to send. It is called when there is a connection.
    #[track_caller]
    pub fn request(&self) -> &[u8] {
        self.waits.set(Location::caller());
        if self.requested_us.get().is_none() {
            self.requested_us.set(Some(now()));
        }
        &self.request
    }

    /// Whether the request was asked for: there is or was a connection.
    pub fn is_requested(&self) -> bool {
        self.requested_us.get().is_some()
    }

    /// When this page times out.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time that is left for this page, or `TimedOut`.
    pub fn time_left(&self) -> io::Result<Duration> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Whether the answer is not whole yet.
    #[track_caller]
    pub fn wants_more(&self) -> bool {
        if self.answered_us.is_none() {
            self.waits.set(Location::caller());
        }
        !matches!(self.answer, Answer::Whole)
    }

    /// Takes the bytes read; none means that the peer closed.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the answer ends too early, `InvalidData` if it is no HTTP.
    pub fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return self.closed();
        }
        self.answered_us.get_or_insert_with(now);
        if self.unparsed.is_empty() {
            let used = self.parse(bytes)?;
            self.unparsed.extend_from_slice(&bytes[used..]);
        } else {
            let mut unparsed = std::mem::take(&mut self.unparsed);
            unparsed.extend_from_slice(bytes);
            let used = self.parse(&unparsed)?;
            unparsed.drain(..used);
            self.unparsed = unparsed;
        }
        Ok(())
    }

    /// The page, or its error in the same words in every style; and when it happened.
    pub fn outcome(self, result: io::Result<()>) -> Outcome {
        let done_us = now();
        let answered_us = self.answered_us.unwrap_or(done_us);
        let task = self.job.task;
        let waiting = |from_us, to_us| Span::here(task, Kind::Waiting, from_us, to_us);
        let requested_us = self.requested_us.get().unwrap_or(answered_us);
        let mut spans = vec![waiting(self.started_us, requested_us).at(self.began)];
        if self.is_requested() {
            spans.push(waiting(requested_us, answered_us).at(self.waits.get()));
        }
        if self.answered_us.is_some() {
            spans.push(Span::here(task, Kind::Running, answered_us, done_us));
        }
        let page = Page { status: self.status, length: self.length, crc32: self.crc32.finalize() };
        Outcome {
            task,
            page: self.job.page,
            result: match result {
                Ok(()) => Ok(page),
                Err(error) => Err(words(&error)),
            },
            spans,
        }
    }

    /// Parses `bytes`, and returns how many were used. The others come again, with more after them.
    fn parse(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        loop {
            // It never sees more than the limit. So what counts as malformed does not depend on how
            // much a style reads at once.
            let rest = &bytes[used..];
            let seen = &rest[..rest.len().min(MAX_UNPARSED)];
            let step = match &mut self.answer {
                Answer::Head => self.head(seen)?,
                Answer::Body(body) => {
                    let take = |data: &[u8]| {
                        self.length += data.len() as u64;
                        self.crc32.update(data);
                    };
                    body.read(seen, take).map_err(|Malformed| malformed("the body"))?
                }
                Answer::Whole => return Ok(bytes.len()),
            };
            if matches!(&self.answer, Answer::Body(body) if body.is_whole()) {
                self.answer = Answer::Whole;
            }
            used += step;
            if step == 0 && !matches!(self.answer, Answer::Whole) {
                if seen.len() == MAX_UNPARSED {
                    return Err(malformed("a head or a chunk's line without an end"));
                }
                return Ok(used);
            }
        }
    }

    /// How long the head at the beginning of `bytes` is; 0 if it has no end yet.
    fn head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut headers = vec![EMPTY_HEADER; lines(bytes)];
        let mut head = Response::new(&mut headers);
        // A user agent must accept values that continue on the next line (RFC 9112, section 5.2).
        let mut config = ParserConfig::default();
        config.allow_obsolete_multiline_headers_in_responses(true);
        let parsed = config.parse_response(&mut head, bytes).map_err(malformed)?;
        let Status::Complete(used) = parsed else { return Ok(0) };
        let status = head.code.expect("the head is complete");
        match status {
            101 => return Err(malformed("an upgrade that was not asked for")),
            100..=199 => return Ok(used), // the answer is still to come
            0..100 => return Err(malformed("the status")),
            204 | 304 => self.answer = Answer::Whole,
            _ => {
                let body = Body::announced(head.headers, head.version == Some(0));
                let body = body.map_err(|Malformed| malformed("the length of the body"))?;
                self.answer = Answer::Body(body.unwrap_or(Body::UntilClosed));
            }
        }
        self.status = status;
        Ok(used)
    }

    fn closed(&mut self) -> io::Result<()> {
        match self.answer {
            Answer::Whole => Ok(()),
            Answer::Body(Body::UntilClosed) => {
                self.answer = Answer::Whole;
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The request for this URL. A user name in it becomes Basic authentication (RFC 7617).
fn request(url: &str) -> Vec<u8> {
    const VALID: &str = "the URL was checked when the job was made";
    let uri: Uri = url.parse().expect(VALID);
    let authority = uri.authority().expect(VALID).as_str();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host = host.strip_suffix(':').unwrap_or(host);
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    let mut authorization = String::new();
    if !user.is_empty() {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let mut user: Vec<u8> = percent_decode_str(name).collect();
        user.push(b':');
        user.extend(percent_decode_str(password));
        authorization = format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(user));
    }
    let request = format!(
        "GET {}{query} HTTP/1.1\r\nhost: {host}\r\n{authorization}connection: close\r\n\
         user-agent: concurrency-styles\r\naccept: */*\r\n\r\n",
        uri.path()
    );
    request.into_bytes()
}

fn malformed(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// The error of a page in words that do not depend on the style that fetched it.
fn words(error: &io::Error) -> String {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidData, NotFound,
        TimedOut, UnexpectedEof, WouldBlock,
    };
    match error.kind() {
        ConnectionRefused => "connection refused".into(),
        ConnectionReset | ConnectionAborted | BrokenPipe => "connection reset".into(),
        UnexpectedEof => "closed before the end".into(),
        InvalidData => "malformed answer".into(),
        NotFound => "host not found".into(),
        // A socket's own timeout ends a blocking read with `WouldBlock`.
        TimedOut | WouldBlock => "timed out".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
