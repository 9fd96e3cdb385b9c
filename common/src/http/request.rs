//! What a server reads and answers, without IO: the requests in the bytes that arrive, and the
//! heads of answers. [`conn`](super::conn) and the site build on it.
//!
//! `httparse` parses the heads. What a server has to add is written here: limits, and which heads
//! are refused.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use http::{StatusCode, Uri};
use httparse::{EMPTY_HEADER, Header, Status};

use crate::http::body::{Body, Malformed, values};
use crate::http::page::number;

/// The longest request head, in bytes. A longer one is answered 431.
pub const MAX_HEAD: usize = 8 * 1024;
/// The longest request body, in bytes with its chunk sizes. It is read and discarded; a longer one
/// is answered 413.
pub const MAX_REQUEST_BODY: usize = 16 * 1024;
/// The most header lines of a request. More are answered 431.
pub const MAX_HEADERS: usize = 128;
/// The longest `?delay=`, in milliseconds.
pub const MAX_DELAY: u64 = 60_000;
/// A buffer that grew beyond this is freed when its request is over.
pub(crate) const KEPT: usize = 4 * 1024;

/// A complete request; its body is read and discarded. Only GET and HEAD get here.
pub(crate) struct Request {
    pub path: String,
    pub query: String,
    pub head_only: bool,
    pub keep_alive: bool,
    pub http10: bool,
}

impl Request {
    fn new(head: &httparse::Request, uri: &Uri) -> Request {
        let http10 = head.version == Some(0);
        let close = has_token(head.headers, "connection", "close");
        let keep = !http10 || has_token(head.headers, "connection", "keep-alive");
        Request {
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or("").to_owned(),
            head_only: head.method == Some("HEAD"),
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

/// The requests of one connection, taken out of the bytes that arrive.
#[derive(Default)]
pub(crate) struct Requests {
    input: Vec<u8>,
    /// A request whose body has not arrived yet.
    pending: Option<Pending>,
}

struct Pending {
    request: Request,
    body: Body,
    /// How many bytes of the body have been read, its chunk sizes included.
    read: usize,
}

/// What to do with the bytes that have arrived.
pub(crate) enum Next {
    /// Nothing yet: more bytes are needed.
    More,
    /// Send this (`100 Continue`) and go on reading.
    Continue(Vec<u8>),
    Answer(Request),
    /// Answer this and close: where the next request would begin is unknown or cannot be trusted.
    Refuse(Refusal),
}

impl Requests {
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// How many bytes have not been parsed yet.
    pub fn buffered(&self) -> usize {
        self.input.len()
    }

    /// Whether a request has begun to arrive. Empty lines before one do not count (RFC 9112,
    /// section 2.2), and neither does the first half of such a line.
    pub fn begun(&self) -> bool {
        self.pending.is_some() || !matches!(&self.input[..], [] | [b'\r'])
    }

    /// Whether the request that is arriving is a HEAD: its refusal then has no body either.
    pub fn is_head(&self) -> bool {
        match &self.pending {
            Some(pending) => pending.request.head_only,
            None => self.input.starts_with(b"HEAD "),
        }
    }

    /// The next thing to do. It does not depend on how the bytes were split.
    pub fn next(&mut self) -> Next {
        if self.pending.is_none() {
            self.skip_empty_lines();
        }
        let head_only = self.is_head();
        let result = match self.pending.take() {
            None if !self.begun() => Ok(Next::More),
            None => self.head(),
            Some(pending) => self.body(pending),
        };
        result.unwrap_or_else(|refusal| Next::Refuse(refusal.head_only(head_only)))
    }

    fn skip_empty_lines(&mut self) {
        let mut rest = &self.input[..];
        while let [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] = rest {
            rest = after;
        }
        self.discard(self.input.len() - rest.len());
    }

    fn head(&mut self) -> Result<Next, Refusal> {
        let seen = &self.input[..self.input.len().min(MAX_HEAD)];
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let Status::Complete(used) = head.parse(seen).map_err(bad_request)? else {
            if seen.len() < MAX_HEAD {
                return Ok(Next::More);
            }
            return Err(Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the head is longer than 8192 bytes",
            ));
        };
        let (request, body) = check(&head)?;
        let says_continue = !request.http10 && has_token(head.headers, "expect", "100-continue");
        self.discard(used);
        let Some(body) = body.filter(|body| !body.is_whole()) else {
            return Ok(Next::Answer(request));
        };
        if matches!(body, Body::Length(n) if n > MAX_REQUEST_BODY as u64) {
            return Err(too_large());
        }
        let pending = Pending { request, body, read: 0 };
        if !says_continue {
            return self.body(pending);
        }
        self.pending = Some(pending);
        Ok(Next::Continue(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()))
    }

    fn body(&mut self, mut pending: Pending) -> Result<Next, Refusal> {
        // It never sees more than the limit. So what is refused, and why, does not depend on how
        // much arrived at once.
        let seen = self.input.len().min(MAX_REQUEST_BODY - pending.read);
        let used = pending.body.read(&self.input[..seen], |_| {}).map_err(|Malformed| {
            Refusal::new(StatusCode::BAD_REQUEST, "the chunks of the body are malformed")
        })?;
        pending.read += used;
        self.discard(used);
        if pending.body.is_whole() {
            return Ok(Next::Answer(pending.request));
        }
        if pending.read + (seen - used) >= MAX_REQUEST_BODY {
            return Err(too_large());
        }
        self.pending = Some(pending);
        Ok(Next::More)
    }

    fn discard(&mut self, n: usize) {
        self.input.drain(..n);
        if self.input.is_empty() && self.input.capacity() > KEPT {
            self.input = Vec::new();
        }
    }
}

/// Refuses what `httparse` accepts and a server must not.
fn check(head: &httparse::Request) -> Result<(Request, Option<Body>), Refusal> {
    let refuse = |why| Refusal::new(StatusCode::BAD_REQUEST, why);
    if !matches!(head.method, Some("GET" | "HEAD")) {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served"));
    }
    let target = head.path.unwrap_or("");
    let uri: Option<Uri> = target.parse().ok();
    let uri = uri.filter(|uri| uri.path().starts_with('/') && !target.contains('#'));
    let uri = uri.ok_or_else(|| refuse("the target is not a path"))?;
    if uri.authority().is_some_and(|host| authority(host.as_str()).is_none()) {
        return Err(refuse("the target names no host"));
    }
    let hosts: Vec<&[u8]> = values(head.headers, "host").collect();
    match hosts[..] {
        [] if head.version == Some(0) => {}
        [host] if std::str::from_utf8(host).is_ok_and(|host| authority(host).is_some()) => {}
        [_] => return Err(refuse("the Host header names no host")),
        _ => return Err(refuse("exactly one Host header is needed")),
    }
    let body = Body::announced(head.headers, head.version == Some(0));
    let body = body.map_err(|Malformed| refuse("the length of the body is not clear"))?;
    Ok((Request::new(head, &uri), body))
}

/// The host and the port of `host[:port]`, as in a Host header or a URL (RFC 3986, section 3.2).
/// `None` if it is not valid: the port may be missing, but not invalid.
pub(crate) fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    let port = if port.is_empty() { None } else { Some(number(port)?.try_into().ok()?) };
    let valid = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host.as_bytes()),
    };
    valid.then_some((host, port))
}

/// A `reg-name`; an IPv4 address is one too.
fn is_name(name: &[u8]) -> bool {
    let plain = |text: &[u8]| {
        text.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(b))
    };
    let mut parts = name.split(|b| *b == b'%');
    parts.next().is_some_and(plain)
        && parts.all(|part| match part {
            [high, low, rest @ ..] => {
                high.is_ascii_hexdigit() && low.is_ascii_hexdigit() && plain(rest)
            }
            _ => false,
        })
}

fn has_token(headers: &[Header], name: &'static str, token: &str) -> bool {
    let mut tokens = values(headers, name).flat_map(|line| line.split(|b| *b == b','));
    tokens.any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn bad_request(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
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
    /// Without a reason it has no body.
    pub fn new(status: StatusCode, why: &'static str) -> Refusal {
        Refusal { status, why, head_only: false }
    }

    /// The same, as an answer to `request`, which may be a HEAD.
    pub fn to(self, request: &Request) -> Refusal {
        self.head_only(request.head_only)
    }

    /// The same. The answer to a HEAD has no body, and so no reason.
    pub fn head_only(self, head_only: bool) -> Refusal {
        Refusal { head_only, ..self }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let body = if self.why.is_empty() { String::new() } else { format!("{}\n", self.why) };
        let mut head =
            Head { status: self.status, ..Head::ok("text/plain") }.length(body.len() as u64);
        head.connection = "connection: close\r\n";
        head.write(out);
        if !self.head_only {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// The head of an answer.
pub(crate) struct Head {
    status: StatusCode,
    kind: &'static str,
    end: BodyEnd,
    connection: &'static str,
}

/// How the head says where the body ends.
enum BodyEnd {
    Sized(u64),
    Chunked,
    UntilClosed,
}

impl Head {
    pub fn ok(kind: &'static str) -> Head {
        Head { status: StatusCode::OK, kind, end: BodyEnd::UntilClosed, connection: "" }
    }

    pub fn length(mut self, length: u64) -> Head {
        self.end = BodyEnd::Sized(length);
        self
    }

    pub fn chunked(mut self) -> Head {
        self.end = BodyEnd::Chunked;
        self
    }

    /// What the peer must be told about the connection: HTTP/1.1 keeps it open and HTTP/1.0 closes
    /// it, unless the head says otherwise.
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
        let body = match self.end {
            BodyEnd::Sized(length) => &format!("content-length: {length}\r\n"),
            BodyEnd::Chunked => "transfer-encoding: chunked\r\n",
            BodyEnd::UntilClosed => "",
        };
        let date = httpdate::fmt_http_date(SystemTime::now());
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\ndate: {date}\r\ncontent-type: {kind}; charset=utf-8\r\n\
             {connection}{allow}{body}\r\n"
        );
        out.extend_from_slice(head.as_bytes());
    }
}
