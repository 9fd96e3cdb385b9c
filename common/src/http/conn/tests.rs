//! A connection, driven by hand: what arrives, what is taken, what the peer then saw.

#![expect(
    clippy::unchecked_time_subtraction,
    reason = "all times are made by hand, later ones from earlier"
)]

use super::*;

/// Short enough to add up by hand; no test waits for one of them.
const LIMITS: Limits = Limits::new(10);
const MS: Duration = Duration::from_millis(1);

/// A connection at the time `now`, to which all other times of a test are added.
fn begun() -> (Conn, Instant) {
    let now = Instant::now();
    (Conn::new_at(LIMITS, now), now)
}
use crate::http::page;
use crate::http::request::{MAX_HEAD, MAX_REQUEST_BODY};

/// Acts as the style: passes `pieces` one read after another, then the end, and takes `some` bytes
/// of output at a time. Returns what the peer saw and how it ended.
fn play(pieces: &[&[u8]], some: usize) -> (Vec<u8>, Conn) {
    let mut conn = Conn::new(LIMITS);
    let mut seen = Vec::new();
    let mut pieces = pieces.iter();
    loop {
        match conn.wants() {
            Wants::Read => conn.received(pieces.next().unwrap_or(&&[][..])),
            Wants::Write => {
                assert!(!conn.output().is_empty(), "nothing to write");
                let n = conn.output().len().min(some);
                seen.extend_from_slice(&conn.output()[..n]);
                conn.sent(n);
            }
            Wants::Wait => no_delay(&mut conn),
            Wants::ShutdownWrite => conn.write_shut(),
            Wants::Close => return (seen, conn),
        }
        assert!(conn.requests.buffered() <= MAX_DRAIN + MAX_HEAD);
        assert!(conn.out.capacity() <= 2 * (PIECE + KEPT));
    }
}

fn no_delay(conn: &mut Conn) {
    conn.state = State::Answering;
}

fn text(input: &str) -> String {
    let (seen, _) = play(&[input.as_bytes()], usize::MAX);
    String::from_utf8(seen).expect("answers are text")
}

/// Every answer says when it was made, which differs between two runs.
fn undated(answers: &[u8]) -> String {
    let text = String::from_utf8_lossy(answers);
    let (dates, others): (Vec<&str>, Vec<&str>) =
        text.split_inclusive('\n').partition(|line| line.starts_with("date: "));
    for date in dates {
        assert!(httpdate::parse_http_date(date["date: ".len()..].trim_end()).is_ok(), "{date:?}");
    }
    others.concat()
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
    let (seen, _) = play(&[get("/page/2000", "").as_bytes()], usize::MAX);
    let answer = undated(&seen);
    assert_eq!(answer.len() + "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".len(), seen.len());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(
        head,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 2000"
    );
    assert_eq!(body.as_bytes(), page::page(2000));
}

#[test]
fn a_long_page_is_made_in_pieces() {
    let n = 3_000_000;
    let (seen, conn) = play(&[get(&format!("/page/{n}"), "").as_bytes()], 5000);
    assert!(seen.ends_with(&page::page(n)));
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

/// The clock goes on between the two questions. If the page became ready meanwhile, the wait is
/// over at once; it must not take the time that the write has.
#[test]
fn a_delay_that_ends_between_two_questions_is_not_waited_for_again() {
    let now = Instant::now();
    let mut conn = Conn::new_at(LIMITS, now);
    conn.received_at(get("/page/1?delay=50", "").as_bytes(), now);
    assert_eq!(conn.wants_at(now + 49 * MS), Wants::Wait);
    assert_eq!(conn.time_left_at(now + 51 * MS), MS);
    conn.done_at(Ok(()), now + 52 * MS);
    assert_eq!(conn.wants_at(now + 52 * MS), Wants::Write);
}

#[test]
fn a_delay_is_waited_for() {
    let (mut conn, now) = begun();
    conn.received_at(get("/page/1?delay=60000", "").as_bytes(), now);
    let delay = 60_000 * MS;
    assert_eq!(conn.wants_at(now), Wants::Wait);
    assert_eq!(conn.time_left_at(now), delay);
    conn.done_at(Err(io::ErrorKind::TimedOut.into()), now + delay - MS);
    assert_eq!(conn.wants_at(now + delay - MS), Wants::Wait);
    conn.done_at(Err(io::ErrorKind::TimedOut.into()), now + delay);
    assert_eq!(conn.wants_at(now + delay), Wants::Write);
    assert_eq!(conn.time_left_at(now + delay), LIMITS.write);
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
        // A request after a refusal is not answered.
        let followed = input.clone() + &get("/page/1", "");
        assert_eq!(statuses(&followed), [status], "{input:?}");
        let answer = text(&input);
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer:?}");
    }
}

#[test]
fn a_host_is_a_name_or_an_address_with_a_port() {
    let host = |host: &str| statuses(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    for good in ["h", "a.b", "h:80", "h:", "", "127.0.0.1:65535", "[::1]", "[::1]:8080", "_x~"] {
        assert_eq!(host(good), [200], "{good:?}");
        assert_eq!(
            statuses(&get(&format!("http://{good}/page/1"), "")),
            if good.is_empty() { [400] } else { [200] },
            "{good:?}"
        );
    }
    for bad in [
        "a b", "a/b", "a?b", "a#b", "u@h", "[::1", "::1", "[::1]x", "[x]", "h:99999", "h:65536",
        "h:-1", "h:+1", "h:http", "h:8 0", "a%2", "a%zz", "a,b c", "\u{e9}", "h:80:80", "<h>",
    ] {
        assert_eq!(host(bad), [400], "{bad:?}");
        // In a target the path begins there.
        if !bad.contains(['/', '?']) {
            assert_eq!(statuses(&get(&format!("http://{bad}/page/1"), "")), [400], "{bad:?}");
        }
    }
    assert_eq!(host("a%20b"), [200]);
    assert_eq!(statuses("GET / HTTP/1.0\r\nhost: a b\r\n\r\n"), [400]);
}

#[test]
fn the_target_is_a_path() {
    for target in ["*", "h:80", "page/1", "/page/1#a", "http://", "http:///page/1"] {
        assert_eq!(statuses(&get(target, "")), [400], "{target:?}");
    }
}

/// RFC 9112, section 2.2.
#[test]
fn empty_lines_are_no_request() {
    for empty in ["\r\n", "\n", "\r\n\r\n\n", "\r", "\r\n\r"] {
        let (mut conn, now) = begun();
        conn.received_at(get("/page/1", "").as_bytes(), now);
        conn.sent_at(conn.output().len(), now);
        conn.received_at(empty.as_bytes(), now + 10 * MS);
        assert!(conn.is_idle(), "{empty:?}");
        assert_eq!(
            conn.time_left_at(now + 10 * MS),
            LIMITS.idle - 10 * MS,
            "{empty:?} extends the time"
        );
        conn.done_at(Err(io::ErrorKind::TimedOut.into()), now + LIMITS.idle);
        assert!(conn.output().is_empty(), "{empty:?} is answered");
        assert_eq!(conn.wants_at(now), Wants::Close);
    }
    let between = "\r\n".repeat(MAX_HEAD) + &get("/page/1", "") + "\r\n\n";
    assert_eq!(statuses(&between.repeat(2)), [200, 200]);
    assert_eq!(statuses("\rGET / HTTP/1.1\r\nhost: h\r\n\r\n"), [400]);
}

#[test]
fn a_refused_head_has_no_body() {
    let long = "x".repeat(MAX_HEAD);
    for (rest, status) in [
        (" / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (" / HTTP/1.1\r\nhost: h\r\nno colon\r\n\r\n".to_owned(), 400),
        (" / HTTP/9\r\n".to_owned(), 400),
        (format!(" /{long}"), 431),
        (" /nothing HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 404),
        (" / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n+1\r\n".to_owned(), 400),
        (" / HTTP/1.1\r\nhost: h\r\ncontent-length: 99999\r\n\r\n".to_owned(), 413),
    ] {
        let answer = text(&format!("\r\nHEAD{rest}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{rest:?}: {answer:?}");
        assert!(answer.ends_with("\r\n\r\n"), "{rest:?}: {answer:?}");
        assert!(!answer.contains("content-length: 0\r\n"), "as long as that of a GET: {answer:?}");
        assert!(!text(&format!("GET{rest}")).ends_with("\r\n\r\n"), "{rest:?}");
    }
    let (mut conn, now) = begun();
    conn.received_at(b"HEAD / HTT", now);
    conn.done_at(Err(io::ErrorKind::TimedOut.into()), now + LIMITS.request);
    assert!(conn.output().starts_with(b"HTTP/1.1 408 ") && conn.output().ends_with(b"\r\n\r\n"));
    // The request is not known, and might be a HEAD.
    let told = String::from_utf8_lossy(Conn::too_many(LIMITS).output()).into_owned();
    assert!(told.contains("content-length: 0\r\n") && told.ends_with("\r\n\r\n"), "{told}");
}

#[test]
fn other_methods_are_told_which_are_allowed() {
    for request in
        ["POST / HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT h:80 HTTP/1.1", "TRACE / HTTP/1.0"]
    {
        let answer = text(&format!("{request}\r\nhost: h\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    }
}

#[test]
fn a_refused_connection_is_drained() {
    let mut conn = Conn::new(LIMITS);
    conn.received(b"GET /nothing HTTP/1.1\r\nhost: h\r\n\r\n");
    conn.sent(conn.output().len());
    assert_eq!(conn.wants(), Wants::ShutdownWrite);
    conn.write_shut();
    for _ in 0..MAX_DRAIN / 1024 {
        assert_eq!(conn.wants(), Wants::Read);
        assert!(conn.time_left() <= LIMITS.grace);
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
        get("/page/1", "transfer-encoding: chunked\r\n")
            + "5;"
            + &"x".repeat(9000)
            + "\r\nhello\r\n0\r\n\r\n",
        get("/page/1", "content-length: 5\r\n") + "hello",
        get("/page/1", "content-length: 5, 5\r\n") + "hello",
        get("/page/1", "transfer-encoding: chunked\r\n") + "5;x=y\r\nhello\r\n0\r\na: b\r\n\r\n",
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
        expected.extend(page::page(n));
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
    let (mut conn, now) = begun();
    conn.received_at(get("/page/1", "").repeat(50).as_bytes(), now);
    assert_eq!(conn.wants_at(now), Wants::Write);
    conn.done_at(Err(io::ErrorKind::WouldBlock.into()), now + LIMITS.write);
    assert_eq!(conn.wants_at(now + LIMITS.write), Wants::Close);
}

/// What the write of a style does at the end of the time: it times out, it has sent some bytes (a
/// blocking write), or it is tried once more and the kernel takes the whole piece.
#[test]
fn a_peer_that_stops_reading_is_kept_for_one_timeout() {
    let late = LIMITS.write;
    for taken_late in [0, 1, usize::MAX] {
        let (mut conn, now) = begun();
        conn.received_at(get("/page/1000000", "").as_bytes(), now);
        conn.sent_at(conn.output().len(), now + 5000 * MS);
        let now = now + 5000 * MS; // a new piece, a new time
        assert_eq!(conn.time_left_at(now), late);
        conn.sent_at(1, now + late - MS);
        assert_eq!(conn.wants_at(now + late - MS), Wants::Write);
        assert_eq!(conn.time_left_at(now + late - MS), MS, "a byte does not extend the time");
        match taken_late {
            0 => conn.done_at(Err(io::ErrorKind::TimedOut.into()), now + late),
            n => conn.sent_at(n.min(conn.output().len()), now + late),
        }
        assert_eq!(conn.wants_at(now + late), Wants::Close, "{taken_late} bytes");
    }
}

#[test]
fn a_peer_that_reads_slowly_gets_its_page() {
    let (mut conn, mut now) = begun();
    conn.received_at(get("/page/1000000", "").as_bytes(), now);
    let mut seen = 0;
    while conn.wants_at(now) == Wants::Write {
        now += LIMITS.write - MS;
        let n = conn.output().len();
        seen += n;
        conn.sent_at(n, now);
    }
    assert!(seen > 1_000_000, "{seen}");
    assert!(conn.is_idle());
}

#[test]
fn bytes_not_asked_for_are_bounded() {
    let mut conn = Conn::new(LIMITS);
    let asked = get("/page/1", "");
    for _ in 0..100_000 {
        conn.received(asked.as_bytes());
        assert!(conn.requests.buffered() <= MAX_DRAIN);
    }
    conn.sent(conn.output().len());
    assert_eq!(conn.wants(), Wants::ShutdownWrite);
}

#[test]
fn half_a_request_times_out() {
    let late = || Err(io::ErrorKind::TimedOut.into());
    let (mut conn, now) = begun();
    assert_eq!(conn.time_left_at(now), LIMITS.idle);
    conn.done_at(late(), now + LIMITS.idle - MS);
    assert_eq!(conn.wants_at(now), Wants::Read, "too soon");
    conn.done_at(late(), now + LIMITS.idle);
    assert_eq!(conn.wants_at(now), Wants::Close, "idle: silently");

    for half in ["GET / HT".to_owned(), get("/", "content-length: 5\r\n") + "hel"] {
        let (mut conn, now) = begun();
        conn.received_at(half.as_bytes(), now);
        assert_eq!(conn.time_left_at(now), LIMITS.request);
        conn.received_at(b"T", now + LIMITS.idle);
        let now = now + LIMITS.request;
        assert_eq!(conn.time_left_at(now - MS), MS, "a byte does not extend the time");
        conn.done_at(late(), now - MS);
        assert!(conn.output().is_empty(), "too soon");
        conn.done_at(late(), now);
        assert!(conn.output().starts_with(b"HTTP/1.1 408 "));
        conn.sent_at(conn.output().len(), now);
        assert_eq!(conn.wants_at(now), Wants::ShutdownWrite);
        conn.write_shut();
        assert_eq!(conn.wants_at(now), Wants::Read);
        conn.done_at(late(), now + LIMITS.grace);
        assert_eq!(conn.wants_at(now), Wants::Close);
    }
}

#[test]
fn a_server_that_shuts_down_answers_the_current_request() {
    let mut idle = Conn::new(LIMITS);
    idle.shutdown_requested();
    assert_eq!(idle.wants(), Wants::Close);

    let mut asked = Conn::new(LIMITS);
    asked.received(get("/page/1", "").repeat(2).as_bytes());
    asked.shutdown_requested();
    for _ in 0..2 {
        assert_eq!(asked.wants(), Wants::Write);
        assert!(asked.time_left() <= LIMITS.grace);
        asked.sent(asked.output().len());
    }
    assert_eq!(asked.served(), 2);
    assert_eq!(asked.wants(), Wants::ShutdownWrite);

    let mut half = Conn::new(LIMITS);
    half.received(b"GET / HTTP/1.1\r\n");
    half.shutdown_requested();
    assert_eq!(half.wants(), Wants::Read);
    half.received(b"host: h\r\n\r\n");
    let answer = String::from_utf8_lossy(half.output()).into_owned();
    assert!(answer.contains("connection: close\r\n"));
}

#[test]
fn nothing_goes_on_after_the_grace_period() {
    let (mut conn, now) = begun();
    conn.received_at(get("/page/1?delay=60000", "").as_bytes(), now);
    conn.shutdown_requested_at(now + MS);
    conn.shutdown_requested_at(now + 500 * MS); // the first counts
    let end = now + MS + LIMITS.grace;
    assert_eq!(conn.wants_at(end - MS), Wants::Wait);
    assert_eq!(conn.time_left_at(end - MS), MS);
    assert_eq!(conn.wants_at(end), Wants::Close);
}

#[test]
fn the_result_of_a_step() {
    use io::ErrorKind::{ConnectionReset, Interrupted, TimedOut, WouldBlock};
    let after = |kind: io::ErrorKind, late: bool| {
        let (mut conn, now) = begun();
        let now = if late { now + LIMITS.idle } else { now };
        conn.done_at(Err(kind.into()), now);
        conn.wants_at(now)
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
    let mut conn = Conn::too_many(LIMITS);
    conn.received(get("/page/1", "").as_bytes());
    assert!(conn.output().starts_with(b"HTTP/1.1 503 "));
    conn.sent(conn.output().len());
    assert_eq!(conn.wants(), Wants::ShutdownWrite);
    conn.write_shut();
    conn.received(&[]);
    assert_eq!(conn.wants(), Wants::Close);
}

#[test]
fn the_end_of_the_peer() {
    // The peer sends requests, then closes its sending side: they are answered.
    let (seen, _) = play(&[get("/page/1", "").repeat(2).as_bytes()], 10);
    assert!(seen.ends_with(&page::page(1)));
    // In the middle of a request: there is nothing to answer.
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

    /// Like what a peer sends, but often with errors in it.
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
            undated(&whole) == undated(&split),
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
        assert!(undated(&play(&[one, two], usize::MAX).0) == undated(&whole), "split at {at}");
    }
}
