//! One GET without IO: the style connects, writes and reads; this says what, and what it meant.
//!
//! The protocol itself is `ureq-proto` (RFC 9110, RFC 9112).

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::{Duration, Instant};

use ureq_proto::BodyMode;
use ureq_proto::client::{Call, RecvResponseResult, SendRequestResult, state};
use ureq_proto::http::Request;

use crate::limits::BUFFER;
use crate::span::{Kind, Span, now};
use crate::workload::io_bound::{Job, Outcome, Page};

/// What may be left unparsed before an answer counts as malformed: a head, or a chunk's size line.
const UNPARSED: usize = 64 * 1024;

/// One page on its way. It owns its time marks: no lock, no global.
pub struct Get {
    job: Job,
    request: Vec<u8>,
    deadline: Instant,
    started_us: u64,
    /// The line that began it: from there on it waits for its connection.
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
    Head(Call<state::RecvResponse>),
    Body(Call<state::RecvBody>),
    Whole,
}

impl Get {
    /// Begins the page's time: its timeout runs from here.
    #[track_caller]
    pub fn new(job: Job) -> Get {
        let (request, answer) = prepare(&job);
        let began = Location::caller();
        Get {
            request,
            deadline: Instant::now() + job.timeout,
            started_us: now(),
            began,
            requested_us: Cell::new(None),
            waits: Cell::new(began),
            answered_us: None,
            answer: Answer::Head(answer),
            unparsed: Vec::new(),
            status: 0,
            length: 0,
            crc32: crc32fast::Hasher::new(),
            job,
        }
    }

    /// Where to connect to; names were resolved before anything ran.
    pub fn address(&self) -> SocketAddr {
        self.job.address
    }

    /// The bytes to send; asked for when there is a connection.
    #[track_caller]
    pub fn request(&self) -> &[u8] {
        self.waits.set(Location::caller());
        if self.requested_us.get().is_none() {
            self.requested_us.set(Some(now()));
        }
        &self.request
    }

    /// When this page is given up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left of this page's time, or `TimedOut`.
    pub fn patience(&self) -> io::Result<Duration> {
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

    /// Takes what was read; nothing means that the peer closed.
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
        if self.wants_more() && self.unparsed.len() > UNPARSED {
            return Err(malformed("a head or a chunk's size line without an end"));
        }
        Ok(())
    }

    /// The page, or what went wrong in the same words in every style; and when it happened.
    pub fn outcome(self, result: io::Result<()>) -> Outcome {
        let done_us = now();
        let answered_us = self.answered_us.unwrap_or(done_us);
        let task = self.job.task;
        let waiting = |from_us, to_us| Span::here(task, Kind::Waiting, from_us, to_us);
        let requested_us = self.requested_us.get().unwrap_or(answered_us);
        let mut spans = vec![waiting(self.started_us, requested_us).at(self.began)];
        if self.requested_us.get().is_some() {
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

    /// How many of `bytes` could be made sense of; the others come again, with more behind them.
    fn parse(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let step = match &mut self.answer {
                Answer::Head(call) => {
                    let answer = call.try_response(&bytes[used..], false);
                    let (step, head) = answer.map_err(malformed)?;
                    if let Some(head) = head {
                        self.status = head.status().as_u16();
                        self.enter_body();
                    }
                    step
                }
                Answer::Body(call) => {
                    let mut plain = [0; BUFFER];
                    let body = call.read(&bytes[used..], &mut plain);
                    let (step, len) = body.map_err(malformed)?;
                    self.length += len as u64;
                    self.crc32.update(&plain[..len]);
                    if call.can_proceed() && call.body_mode() != BodyMode::CloseDelimited {
                        self.answer = Answer::Whole;
                    }
                    step
                }
                Answer::Whole => return Ok(bytes.len()),
            };
            used += step;
            if step == 0 && self.wants_more() {
                return Ok(used);
            }
        }
    }

    fn enter_body(&mut self) {
        let Answer::Head(call) = std::mem::replace(&mut self.answer, Answer::Whole) else {
            return;
        };
        if let Some(RecvResponseResult::RecvBody(call)) = call.proceed() {
            self.answer = Answer::Body(call);
        }
    }

    fn closed(&mut self) -> io::Result<()> {
        match &self.answer {
            Answer::Whole => Ok(()),
            Answer::Body(call) if call.body_mode() == BodyMode::CloseDelimited => {
                self.answer = Answer::Whole;
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn prepare(job: &Job) -> (Vec<u8>, Call<state::RecvResponse>) {
    const VALID: &str = "the URL was checked when the job was made";
    let request = Request::get(&job.url)
        .header("connection", "close")
        .header("user-agent", "concurrency-styles")
        .header("accept", "*/*")
        .body(())
        .expect(VALID);
    let mut call = Call::new(request).expect(VALID).proceed();
    let mut bytes = vec![0; job.url.len() + 512];
    let len = call.write(&mut bytes).expect(VALID);
    bytes.truncate(len);
    match call.proceed().expect(VALID) {
        Some(SendRequestResult::RecvResponse(call)) => (bytes, call),
        _ => unreachable!("a GET has no body to send, and its head was written whole"),
    }
}

fn malformed(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// A failed page in words that do not depend on the style that fetched it.
fn words(error: &io::Error) -> String {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidData, TimedOut,
        UnexpectedEof, WouldBlock,
    };
    match error.kind() {
        ConnectionRefused => "connection refused".into(),
        ConnectionReset | ConnectionAborted | BrokenPipe => "connection reset".into(),
        UnexpectedEof => "closed before the end".into(),
        InvalidData => "malformed answer".into(),
        // A socket's own timeout ends a blocking read with `WouldBlock`.
        TimedOut | WouldBlock => "timed out".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            task: 0,
            url: "http://127.0.0.1:1/page/7".into(),
            address: ([127, 0, 0, 1], 1).into(),
            page: "/page/7".into(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Feeds `answer` in pieces of `size` bytes, then closes.
    fn fetch(answer: &[u8], size: usize) -> Result<Page, String> {
        let mut get = Get::new(job());
        let mut result = Ok(());
        for piece in answer.chunks(size).chain([&[][..]]) {
            if get.wants_more() && result.is_ok() {
                result = get.received(piece);
            }
        }
        get.outcome(result).result
    }

    #[test]
    fn each_wait_says_after_which_line() {
        let mut get = Get::new(job());
        let began = line!() - 1;
        get.request();
        let asked = get.wants_more();
        let waits = line!() - 1;
        let result = get.received(ANSWERS[0].0);
        let outcome = get.outcome(result);
        let lines: Vec<_> = outcome.spans.iter().map(|span| (span.kind, span.line)).collect();
        let waiting = |line| (Kind::Waiting, Some(line));
        assert!(asked);
        assert_eq!(lines, [waiting(began), waiting(waits), (Kind::Running, None)]);
        assert_eq!(outcome.spans[0].file.as_deref(), Some(file!()));
    }

    /// What never had a connection waits for it until the end.
    #[test]
    fn a_refused_page_waits_for_its_connection_alone() {
        let outcome = Get::new(job()).outcome(Err(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(outcome.spans.len(), 1);
    }

    fn page(status: u16, body: &[u8]) -> Page {
        Page { status, length: body.len() as u64, crc32: crc32fast::hash(body) }
    }

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";

    const ANSWERS: [(&[u8], u16, &[u8]); 8] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", 404, b"no"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (CHUNKED, 200, b"hello!"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
              HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            200,
            b"ok",
        ),
    ];

    #[test]
    fn any_split_gives_the_same_page() {
        for (answer, status, body) in ANSWERS {
            for size in 1..=answer.len() {
                let text = String::from_utf8_lossy(answer);
                assert_eq!(fetch(answer, size), Ok(page(status, body)), "{size}: {text}");
            }
        }
    }

    #[test]
    fn an_answer_cut_anywhere_is_never_a_page() {
        for len in 0..CHUNKED.len() {
            let cut = fetch(&CHUNKED[..len], 7);
            assert_eq!(cut, Err("closed before the end".into()), "{len}");
        }
    }

    #[test]
    fn what_is_no_http_is_malformed() {
        for answer in [&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], b"\0\0\0\xff\xff\xff\r\n\r\n"] {
            assert_eq!(fetch(answer, 5), Err("malformed answer".into()));
        }
    }

    #[test]
    fn a_head_without_an_end_is_given_up() {
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
        let mut get = Get::new(job());
        let taken = endless.chunks(BUFFER).take_while(|piece| get.received(piece).is_ok());
        assert!(taken.count() * BUFFER <= UNPARSED + BUFFER);
    }

    #[test]
    fn no_input_panics_and_no_split_matters() {
        let mut random = 1_u64;
        for round in 0..20_000 {
            let mut noisy = ANSWERS[round % ANSWERS.len()].0.to_vec();
            for _ in 0..3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (random >> 33) as usize % noisy.len();
                noisy[at] = (random >> 24) as u8;
            }
            let whole = fetch(&noisy, noisy.len());
            let split = fetch(&noisy, 1 + (random >> 40) as usize % 9);
            assert_eq!(whole, split, "{:?}", String::from_utf8_lossy(&noisy));
        }
    }
}
