use std::net::{Shutdown, TcpListener};
use std::thread;

use super::*;
use crate::partner::site::handle::Site;

#[test]
fn every_page_of_a_good_server_is_right() {
    let mut site = Site::in_thread().expect("a site");
    for (from, pipeline) in [(0, 1), (0, 7), (100_000, 3)] {
        let load = Load {
            connections: 20,
            requests: 30,
            pages: 11,
            from,
            pipeline,
            ..Load::new(site.address())
        };
        let loaded = load.run().expect("a poller");
        assert_eq!(loaded.first_error, None);
        assert_eq!((loaded.right, loaded.errors, loaded.most_open), (600, 0, 20));
        assert_eq!(site.stats().expect("the site answers").served, 600);
        site.reset().expect("the site answers");
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let site = Site::in_thread().expect("a site");
    let load = Load { connections: 2, ..Load::new(site.refused()) };
    let loaded = load.run().expect("a poller");
    assert_eq!((loaded.right, loaded.errors, loaded.most_open), (0, 200, 0));
    let error = loaded.first_error.expect("there was one");
    assert!(error.contains("refused"), "{error}");
}

/// The report of the load about a server that answers every request with `answer`.
fn answered(answer: &'static [u8]) -> LoadReport {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let load = Load {
        connections: 1,
        requests: 2,
        ..Load::new(listener.local_addr().expect("it is bound"))
    };
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let _ = socket.read(&mut [0; 1000]);
        let _ = socket.write_all(answer);
        let _ = socket.shutdown(Shutdown::Write);
        let _ = io::copy(&mut socket, &mut io::sink());
    });
    let loaded = load.run().expect("a poller");
    server.join().expect("it does not panic");
    loaded
}

#[test]
fn wrong_answers_are_errors() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n";
    let right = [length.as_bytes(), &page::page(0)].concat().leak();
    let twice = [&*right, &*right].concat().leak();
    let wrong = [length.as_bytes(), &page::page(1)].concat().leak();
    for (answer, come, words) in [
        (&b""[..], 0, "closed too early"),
        (b"nothing like HTTP\r\n\r\n", 0, "invalid HTTP version"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 0, "status 404"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n", 0, "another length"),
        (wrong, 0, "another page"),
        (right, 1, "closed too early"),
        (twice, 1, "an answer to nothing"),
    ] {
        let loaded = answered(answer);
        assert_eq!((loaded.right, loaded.errors), (come, 2 - come), "{words}");
        let error = loaded.first_error.expect("there was one");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn latencies_are_drawn_to_scale() {
    let ms = |ms| Duration::from_millis(ms);
    let latency = columns(&[ms(0), ms(1), ms(1), ms(40), ms(99)], 0.04);
    assert_eq!((latency[0], latency[1], latency[39]), (1, 2, 2));
    let loaded = LoadReport { latency, p99_ms: 40.0, ..LoadReport::default() };
    assert_eq!(loaded.drawn(), format!("0 ▅█{}█ 40.0 ms", " ".repeat(37)));
    assert_eq!(LoadReport::default().drawn(), "0  0.0 ms");
}

#[test]
fn a_report_travels_as_json() {
    let loaded = LoadReport { right: 3, first_error: Some("a".into()), ..LoadReport::default() };
    let line = serde_json::to_string(&loaded).expect("plain data");
    assert_eq!(serde_json::from_str::<LoadReport>(&line).expect("the same"), loaded);
}
