use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::http::page::{MAX_PAGE, page};
use crate::partner::site::control::Stats;
use crate::partner::site::handle::Site;

/// A client that has sent a GET.
fn get(address: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the site listens");
    let head = format!("GET {path} HTTP/1.1\r\nhost: site\r\nconnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).expect("the site reads");
    // A safety timeout: no test waits that long.
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    socket
}

fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    answer
}

/// Asks the site until its counts are as they should be.
fn until(site: &mut Site, what: impl Fn(Stats) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stats = site.stats().expect("the site answers");
        if what(stats) {
            return;
        }
        assert!(Instant::now() < deadline, "{stats:?}");
    }
}

#[test]
fn every_way_to_send_a_page() {
    let site = Site::in_thread().expect("a site");
    for n in [0, 5000, 1_000_000] {
        for (path, before) in [
            ("page", "HTTP/1.1 200 OK\r\n"),
            ("close", "HTTP/1.1 200 OK\r\n"),
            ("old", "HTTP/1.0 200 OK\r\n\r\npage"),
            ("hints", "HTTP/1.1 103 Early Hints\r\n"),
        ] {
            let answer = rest(get(site.address(), &format!("/{path}/{n}?delay=1")));
            assert!(answer.starts_with(before.as_bytes()), "{path}");
            assert!(answer.ends_with(&page(n)), "/{path}/{n}");
        }
    }
    let drip = rest(get(site.address(), "/drip/0?every=0"));
    assert!(drip.ends_with(&page(0)));
}

#[test]
fn chunks() {
    let site = Site::in_thread().expect("a site");
    let answer = rest(get(site.address(), "/chunked/5000"));
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"));
    let page = String::from_utf8(page(5000)).expect("text");
    let (one, two) = page.split_at(4096);
    assert_eq!(body, format!("1000\r\n{one}\r\n388\r\n{two}\r\n0\r\n\r\n"));
}

#[test]
fn what_can_go_wrong() {
    let site = Site::in_thread().expect("a site");
    let error = TcpStream::connect(site.refused()).expect_err("the port refuses");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    let mut reset = get(site.address(), "/reset");
    let error = reset.read(&mut [0; 10]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let truncated = String::from_utf8(rest(get(site.address(), "/truncated"))).expect("text");
    let (head, body) = truncated.split_once("\r\n\r\n").expect("a head");
    assert!(head.ends_with("content-length: 2000") && body.len() == 1000);

    for (path, answer) in [
        ("/malformed", "HTTP/1.1 two hundred\r\n"),
        ("/status/404", "HTTP/1.1 404 Not Found\r\n"),
        ("/status/503?delay=1", "HTTP/1.1 503 Service Unavailable\r\n"),
        ("/status/200", "HTTP/1.1 404 Not Found\r\n"),
        ("/nothing", "HTTP/1.1 404 Not Found\r\n"),
        ("/page/x", "HTTP/1.1 404 Not Found\r\n"),
        ("/page/1?delay=x", "HTTP/1.1 400 Bad Request\r\n"),
        ("/drip/1?every=x", "HTTP/1.1 400 Bad Request\r\n"),
        ("/gate/1", "HTTP/1.1 400 Bad Request\r\n"),
        ("/gate/1?of=0", "HTTP/1.1 400 Bad Request\r\n"),
    ] {
        let said = rest(get(site.address(), path));
        assert!(said.starts_with(answer.as_bytes()), "{path}");
    }
}

#[test]
fn a_gate_opens_when_all_are_there() {
    let mut site = Site::in_thread().expect("a site");
    let path = |n| format!("/gate/{n}?of=100");
    for _ in 0..2 {
        site.reset().expect("the site answers");
        // A client that disconnects does not count.
        drop(get(site.address(), &path(0)));
        until(&mut site, |stats| stats.given_up == 1);
        let mut waiting = Vec::new();
        for n in 0..99 {
            waiting.push(get(site.address(), &path(2000 + n)));
        }
        until(&mut site, |stats| stats.open == 99);
        assert_eq!(site.stats().expect("the site answers").served, 0);
        waiting.push(get(site.address(), &path(2099)));
        for (n, socket) in waiting.into_iter().enumerate() {
            assert!(rest(socket).ends_with(&page(2000 + n as u64)));
        }
        let stats = site.stats().expect("the site answers");
        let counted = Stats { open: 0, most_open: 100, served: 100, given_up: 1, connections: 101 };
        assert_eq!(stats, counted);
    }
}

#[test]
fn a_client_that_disconnects_is_noticed() {
    let mut site = Site::in_thread().expect("a site");
    for path in ["/stall", "/stall-body/5000", "/drip/1?every=60000", "/page/1?delay=60000"] {
        site.reset().expect("the site answers");
        let socket = get(site.address(), path);
        until(&mut site, |stats| stats.open == 1);
        drop(socket);
        until(&mut site, |stats| stats.open == 0 && stats.given_up == 1);
    }
}

#[test]
fn keep_alive_and_head() {
    let site = Site::in_thread().expect("a site");
    let mut socket = TcpStream::connect(site.address()).expect("the site listens");
    let head = "HEAD /page/2000 HTTP/1.1\r\nhost: h\r\n\r\n";
    let more = "GET /chunked/0 HTTP/1.1\r\nhost: h\r\n\r\n";
    let last = "GET /page/3000 HTTP/1.0\r\n\r\n";
    let asked = head.to_owned() + more + last;
    socket.write_all(asked.as_bytes()).expect("the site reads");
    let answers = String::from_utf8(rest(socket)).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    assert!(answers.as_bytes().ends_with(&page(3000)));
}

#[test]
fn half_a_connection_gets_its_long_page() {
    let site = Site::in_thread().expect("a site");
    let socket = get(site.address(), "/page/16777216");
    socket.shutdown(Shutdown::Write).expect("it is open");
    assert!(rest(socket).ends_with(&page(MAX_PAGE)));
}
