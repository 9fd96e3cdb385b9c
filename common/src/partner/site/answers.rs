//! What the site answers to a request, when it answers, and what it does then.

use std::time::Duration;

use http::StatusCode;

use crate::http::page::Page;
use crate::http::page::number;
use crate::http::request::{Head, Refusal, Request};
use crate::limits::BUFFER;

const INDEX: &str = "<!doctype html>\n<title>the site</title>\n<ul>\n\
    <li><a href=\"/page/1\">/page/1</a>: page N is N bytes long,\n\
    but at least 1024 and at most 16777216\n\
    <li><a href=\"/page/1?delay=1000\">/page/1?delay=1000</a>: a second away\n\
    <li><a href=\"/gate/1?of=2\">/gate/1?of=2</a>: answered when two ask for it\n\
    <li><a href=\"/chunked/5000\">/chunked/5000</a>, <a href=\"/close/5000\">/close/5000</a>,\n\
    <a href=\"/old/5000\">/old/5000</a>, <a href=\"/hints/5000\">/hints/5000</a>:\n\
    other ways to send a page\n\
    <li><a href=\"/drip/1?every=10\">/drip/1?every=10</a>: a byte every 10 ms\n\
    <li><a href=\"/stall\">/stall</a>, <a href=\"/stall-body/5000\">/stall-body/5000</a>,\n\
    <a href=\"/truncated\">/truncated</a>, <a href=\"/malformed\">/malformed</a>,\n\
    <a href=\"/reset\">/reset</a>, <a href=\"/status/404\">/status/404</a>: what can go wrong\n\
    </ul>\n";

/// How much of a page is made at a time.
const PIECE: usize = 16 * 1024;

/// What to answer, when, and what to do then.
pub struct Answer {
    pub hold: Hold,
    /// The head, and the body if it is short.
    pub out: Vec<u8>,
    /// The rest of the body.
    pub rest: Rest,
    pub end: End,
}

#[derive(Clone, Copy)]
pub enum Hold {
    Not,
    For(Duration),
    Gate(usize),
    Forever,
}

pub enum Rest {
    Nothing,
    Page(Page),
    Chunks(Page),
    Drops(Page, Duration),
    Never,
}

#[derive(Clone, Copy)]
pub enum End {
    Keep,
    Close,
    Reset,
}

pub enum Refill {
    /// There is something to send.
    Now,
    /// There is something to send, after this time.
    After(Duration),
    /// Nothing more will come, but the connection stays open.
    Never,
    Done,
}

impl Rest {
    /// Makes the next piece.
    pub fn refill(&mut self, out: &mut Vec<u8>) -> Refill {
        match self {
            Rest::Page(page) | Rest::Drops(page, _) if page.left() == 0 => return Refill::Done,
            Rest::Nothing => return Refill::Done,
            Rest::Never => return Refill::Never,
            Rest::Page(page) => page.fill(out, PIECE),
            Rest::Drops(page, every) => {
                page.fill(out, 1);
                return Refill::After(*every);
            }
            Rest::Chunks(page) => {
                let n = page.left().min(BUFFER as u64);
                out.extend_from_slice(format!("{n:x}\r\n").as_bytes());
                page.fill(out, BUFFER);
                out.extend_from_slice(b"\r\n");
                if n == 0 {
                    *self = Rest::Nothing;
                }
            }
        }
        Refill::Now
    }
}

impl Answer {
    pub fn raw(bytes: &[u8], end: End) -> Answer {
        Answer { hold: Hold::Not, out: bytes.to_vec(), rest: Rest::Nothing, end }
    }

    pub fn refused(refusal: &Refusal) -> Answer {
        let mut out = Vec::new();
        refusal.write(&mut out);
        Answer::raw(&out, End::Close)
    }

    /// A head that says how long the body is, and the body.
    fn sized(request: &Request, kind: &'static str, length: u64, rest: Rest) -> Answer {
        let mut out = Vec::new();
        let head = Head::ok(kind).length(length);
        let head = head.connection(request, !request.keep_alive);
        head.write(&mut out);
        let rest = if request.head_only { Rest::Nothing } else { rest };
        let end = if request.keep_alive { End::Keep } else { End::Close };
        Answer { hold: Hold::Not, out, rest, end }
    }

    fn page(request: &Request, n: u64) -> Answer {
        let page = Page::new(n);
        let mut answer = Answer::sized(request, "text/plain", page.left(), Rest::Page(page));
        answer.short();
        answer
    }

    /// Puts the beginning of the body behind the head, so that a short page is one packet.
    fn short(&mut self) {
        if let Rest::Page(page) = &mut self.rest {
            page.fill(&mut self.out, PIECE);
        }
    }

    /// A head that says that the page ends with the connection.
    fn unsized_page(request: &Request, n: u64) -> Answer {
        let mut answer = Answer::raw(&[], End::Close);
        let head = Head::ok("text/plain").connection(request, true);
        head.write(&mut answer.out);
        if !request.head_only {
            answer.rest = Rest::Page(Page::new(n));
        }
        answer
    }

    fn chunked(request: &Request, n: u64) -> Answer {
        let mut answer = Answer::sized(request, "text/plain", 0, Rest::Chunks(Page::new(n)));
        answer.out.clear();
        let head = Head::ok("text/plain").chunked();
        let head = head.connection(request, !request.keep_alive);
        head.write(&mut answer.out);
        answer
    }

    /// Half of the body that the head announces.
    fn half(request: &Request, n: u64) -> Answer {
        let mut page = Page::new(n);
        let length = page.left();
        let mut answer = Answer::sized(request, "text/plain", length, Rest::Nothing);
        page.fill(&mut answer.out, (length / 2) as usize);
        answer
    }
}

pub fn route(request: &Request) -> Result<Answer, Refusal> {
    let delay = request.delay()?;
    let missing = Refusal::new(StatusCode::NOT_FOUND, "no such page");
    let path = request.path.strip_prefix('/').unwrap_or(&request.path);
    let (name, n) = match path.split_once('/') {
        None => (path, None),
        Some((name, n)) => match number(n) {
            None => return Err(missing),
            n => (name, n),
        },
    };
    let mut answer = match (name, n) {
        ("", None) => {
            let length = INDEX.len() as u64;
            let mut answer = Answer::sized(request, "text/html", length, Rest::Nothing);
            if !request.head_only {
                answer.out.extend_from_slice(INDEX.as_bytes());
            }
            answer
        }
        ("page", Some(n)) => Answer::page(request, n),
        ("gate", Some(n)) => match request.parameter("of").and_then(number) {
            Some(of) if of > 0 => {
                Answer { hold: Hold::Gate(of as usize), ..Answer::page(request, n) }
            }
            _ => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "a gate needs ?of=K, a number above 0",
                ));
            }
        },
        // HTTP/1.0 has no chunks.
        ("chunked", Some(n)) if !request.http10 => Answer::chunked(request, n),
        ("close" | "chunked", Some(n)) => Answer::unsized_page(request, n),
        ("old", Some(n)) => {
            Answer { out: b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), ..Answer::unsized_page(request, n) }
        }
        ("hints", Some(n)) => {
            let mut answer = Answer::page(request, n);
            let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </page/1>\r\n\r\n";
            answer.out.splice(..0, hints.iter().copied());
            answer
        }
        ("drip", Some(n)) => {
            let every = request.parameter("every").map_or(Some(100), number);
            let Some(every @ ..=60_000) = every else {
                let why = "?every=MS takes a number of milliseconds up to 60000";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
            };
            let every = Duration::from_millis(every);
            let page = Page::new(n);
            let length = page.left();
            Answer::sized(request, "text/plain", length, Rest::Drops(page, every))
        }
        ("stall", None) => Answer { hold: Hold::Forever, ..Answer::raw(&[], End::Close) },
        ("stall-body", Some(n)) => Answer { rest: Rest::Never, ..Answer::half(request, n) },
        ("truncated", None) => Answer { end: End::Close, ..Answer::half(request, 2000) },
        ("malformed", None) => Answer::raw(b"HTTP/1.1 two hundred\r\n\r\n", End::Close),
        ("reset", None) => Answer::raw(&[], End::Reset),
        ("status", Some(code @ 400..=599)) => {
            let status = StatusCode::from_u16(code as u16);
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Answer::refused(&Refusal::new(status, "as was asked for").to(request))
        }
        _ => return Err(missing),
    };
    if let Hold::Not = answer.hold
        && !delay.is_zero()
    {
        answer.hold = Hold::For(delay);
    }
    Ok(answer)
}
