use super::*;
use crate::limits::BUFFER;

fn job() -> Job {
    Job {
        task: 0,
        url: "http://127.0.0.1:1/page/7".into(),
        addresses: vec![([127, 0, 0, 1], 1).into()],
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

/// A page that never got a connection waits for it until the end.
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
fn a_head_without_an_end_is_malformed() {
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
    let mut get = Get::new(job());
    let taken = endless.chunks(BUFFER).take_while(|piece| get.received(piece).is_ok());
    assert!(taken.count() * BUFFER <= MAX_UNPARSED);
}

/// The limit does not depend on how much a style reads at once.
#[test]
fn one_limit_for_the_head() {
    let answer = |n: usize| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: {}\r\n\r\n", "a".repeat(n));
        let spare = MAX_UNPARSED - (head.len() - n);
        (head + "ok", spare)
    };
    let (_, most) = answer(0);
    for size in [700, BUFFER, 16 * 1024, 1 << 20] {
        assert_eq!(fetch(answer(most).0.as_bytes(), size), Ok(page(200, b"ok")), "by {size}");
        for n in [most + 1, 100_000] {
            let long = fetch(answer(n).0.as_bytes(), size);
            assert_eq!(long, Err("malformed answer".into()), "{n} by {size}");
        }
    }
}

#[test]
fn unusual_answers_that_are_legal() {
    let many = "x: y\r\n".repeat(2000);
    let long = "x".repeat(5000);
    for answer in [
        "HTTP/1.1 100 Continue\r\nserver: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            .to_owned(),
        "HTTP/1.1 102 Processing\r\ntransfer-encoding: gzip\r\n\r\nHTTP/1.1 200\r\n\r\nok"
            .to_owned(),
        "HTTP/1.1 200 OK\r\na: b\r\n  c\r\n\td\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length:\r\n 2\r\n\r\nok".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{many}content-length: 2\r\n\r\nok"),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok and more".to_owned(),
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2;{long}\r\nok\r\n0\r\n{many}\r\n"
        ),
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok".to_owned(),
    ] {
        let small = if answer.len() > 1000 { 701 } else { 1 };
        for size in [small, answer.len()] {
            let fetched = fetch(answer.as_bytes(), size);
            assert_eq!(fetched, Ok(page(200, b"ok")), "{answer:?} by {size}");
        }
    }
    for status in [204, 304] {
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(fetch(answer.as_bytes(), 9), Ok(page(status, b"")));
    }
}

#[test]
fn answers_whose_end_is_not_clear_are_malformed() {
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    for (version, headers) in [
        ("1.1", "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
        ("1.1", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        ("1.1", "transfer-encoding: chunked, gzip\r\n"),
        ("1.1", "transfer-encoding: gzip, chunked\r\n"),
        ("1.1", "transfer-encoding: identity\r\n"),
        ("1.1", "transfer-encoding: chunked\r\ncontent-length: 2\r\n"),
        ("1.0", "transfer-encoding: chunked\r\n"),
        ("1.1", "content-length: 2\r\ncontent-length: 3\r\n"),
        ("1.1", "content-length: +2\r\n"),
        ("1.1", "content-length: \r\n"),
    ] {
        let answer = format!("HTTP/{version} 200 OK\r\n{headers}\r\n{chunks}");
        for size in [1, answer.len()] {
            let fetched = fetch(answer.as_bytes(), size);
            assert_eq!(fetched, Err("malformed answer".into()), "{headers:?} by {size}");
        }
    }
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nok";
    assert_eq!(fetch(upgrade.as_bytes(), 9), Err("malformed answer".into()));
}

#[test]
fn the_request_that_is_sent() {
    let long = "u".repeat(1500);
    let basic = |user: &str| format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(user));
    for (url, line, host, more) in [
        ("http://h/a?b=c", "/a?b=c", "h", String::new()),
        ("http://h", "/", "h", String::new()),
        ("http://h?b", "/?b", "h", String::new()),
        ("http://h:8080/a", "/a", "h:8080", String::new()),
        ("http://h:/a", "/a", "h", String::new()),
        ("http://[::1]:1/", "/", "[::1]:1", String::new()),
        ("http://u:p@h/", "/", "h", basic("u:p")),
        ("http://u@h/", "/", "h", basic("u:")),
        ("http://u%3ax:p%40ss:%c3%a9@h/", "/", "h", basic("u:x:p@ss:\u{e9}")),
        (&format!("http://{long}@h/"), "/", "h", basic(&format!("{long}:"))),
    ] {
        let expected =
            format!("GET {line} HTTP/1.1\r\nhost: {host}\r\n{more}connection: close\r\n");
        let asked = String::from_utf8(request(url)).expect("text");
        assert!(asked.starts_with(&expected), "{url}: {asked}");
    }
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
