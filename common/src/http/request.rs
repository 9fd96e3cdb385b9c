//! What a server reads and answers, without IO: requests cut out of what arrives, and the heads of
//! answers. [`conn`](super::conn) and the site build on it.
//!
//! The requests are parsed by `ureq-proto`; what a server must add is written here: limits, and
//! which heads are refused.

use std::time::Duration;

use ureq_proto::http::{self, HeaderMap, Method, StatusCode, Version, header};
use ureq_proto::server::{RecvRequestResult, Reply, state::RecvBody};
use ureq_proto::{BodyMode, Error};

/// The longest request head, in bytes. A longer one is answered 431.
pub const MAX_HEAD: usize = 8 * 1024;
/// The longest request body, in bytes with its chunk sizes. It is read and thrown away; a longer
/// one is answered 413.
pub const MAX_REQUEST_BODY: usize = 16 * 1024;
/// The longest `?delay=`, in milliseconds.
pub const MAX_DELAY: u64 = 60_000;
/// A buffer that grew beyond this is given back when its request is over.
pub(crate) const KEPT: usize = 4 * 1024;

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
