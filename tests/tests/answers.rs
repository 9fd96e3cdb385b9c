//! Every style gives the right answer, and so the same one, byte for byte, for all flags. The
//! expected answers are computed here in another way than in the programs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::http::page::page;
use common::partner::site::handle::Site;
use tests::foreign::{self, crc32};
use tests::programs::{run, start};
use tests::styles::Style;
use tests::traces;

tests::for_every_style! {
    defaults,
    one_page,
    fifty_pages,
    pages_without_a_delay,
    one_at_once,
    three_at_once,
    more_at_once_than_pages,
    one_of_each_failure,
    failures_two_at_once,
    repeated_runs_answer_once,
    everything,
    primes_of_any_size,
    more_counts_than_cores,
    every_way_gives_the_same_answer,
    pages_of_a_foreign_server,
    broken_pages_of_a_foreign_server,
    nobody_listens,
    gates_open_when_all_are_there,
    gates_stay_shut_when_too_few_are_at_once,
    as_many_at_once_as_asked_for,
    many_pages,
    large_pages,
}

// ---- pages of the built-in site -----------------------------------------------------------------

fn defaults(style: &Style) {
    let output = run(style, &["io-bound", "--quiet"]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.answer(), pages(20, "/page/19".len()));
}

fn one_page(style: &Style) {
    own(style, 1, &[]);
}

fn fifty_pages(style: &Style) {
    own(style, 50, &["--latency", "20ms"]);
}

fn pages_without_a_delay(style: &Style) {
    own(style, 30, &["--latency", "0ms"]);
}

fn one_at_once(style: &Style) {
    own(style, 7, &["--at-once", "1", "--latency", "1ms"]);
}

fn three_at_once(style: &Style) {
    own(style, 20, &["--at-once", "3", "--latency", "2ms"]);
}

fn more_at_once_than_pages(style: &Style) {
    own(style, 3, &["--at-once", "30", "--latency", "2ms"]);
}

fn repeated_runs_answer_once(style: &Style) {
    own(style, 4, &["--repeat", "3", "--latency", "1ms"]);
}

fn own(style: &Style, n: u64, flags: &[&str]) {
    let number = n.to_string();
    let args = [&["io-bound", "--quiet", "--pages", &number], flags].concat();
    let width = format!("/page/{}", n - 1).len();
    assert_eq!(run(style, &args).answer(), pages(n, width));
}

/// The lines of pages 0 to n of the built-in site.
fn pages(n: u64, width: usize) -> String {
    (0..n).map(|n| line(&format!("/page/{n}"), width, &page(n))).collect()
}

fn line(name: &str, width: usize, body: &[u8]) -> String {
    format!("{name:width$}  200 {:>7} bytes  crc32 {:08x}\n", body.len(), crc32(body))
}

fn one_of_each_failure(style: &Style) {
    let output = run(style, &["io-bound", "--quiet", "--with-failures"]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.answer(), with_failures(20));
}

fn failures_two_at_once(style: &Style) {
    let flags = ["--with-failures", "--at-once", "2", "--pages", "5", "--latency", "1ms"];
    let args = [&["io-bound", "--quiet"], &flags[..]].concat();
    assert_eq!(run(style, &args).answer(), with_failures(5));
}

/// The other pages arrive. For each broken page the error is given.
fn with_failures(n: u64) -> String {
    let site = Site::in_thread().expect("a site");
    let body = body(site.address(), "/status/404");
    pages(n, "/status/404".len())
        + "/refused     connection refused\n"
        + &line("/second", "/status/404".len(), &page(0))
        + "/unknown     host not found\n\
           /reset       connection reset\n\
           /truncated   closed before the end\n\
           /malformed   malformed answer\n\
           /stall       timed out\n"
        + &format!("/status/404  404 {:>7} bytes  crc32 {:08x}\n", body.len(), crc32(&body))
}

/// The body that the site sends.
fn body(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("the site listens");
    write!(socket, "GET {path} HTTP/1.1\r\nhost: site\r\nconnection: close\r\n\r\n")
        .expect("the site reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("the site answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head ends");
    answer.split_off(end + 4)
}

/// All sections in the talk's order, within the width of a terminal, and no claim "does not hold".
/// (The suite `contract` runs everything as JSON, and on one core.)
fn everything(style: &Style) {
    let running = start(style, &[""; 0]);
    let mark = running.mark().to_string();
    let output = running.finish();
    assert_eq!(traces::leftovers(&mark), [""; 0]);
    output.fits();
    let debug = output.stderr.contains("a debug build: its times are not for quoting");
    assert_eq!(debug, cfg!(debug_assertions));
    assert!(!output.stderr.contains("does not hold"), "{}", output.stderr);
    let answer = output.answer();
    let (pages, counts) = (pages(20, "/page/19".len()), counts(6, 1_000_000));
    let expected = format!("== io-bound\n{pages}== cpu-bound\n{counts}== ordering\n");
    assert!(answer.starts_with(&expected), "{answer}");
}

// ---- counts --------------------------------------------------------------------------------

fn primes_of_any_size(style: &Style) {
    for below in [1, 2, 3, 4, 5000, 5001, 20_011] {
        let number = below.to_string();
        let output = run(style, &["cpu-bound", "--quiet", "--tasks", "2", "--below", &number]);
        assert_eq!(output.stderr, "");
        assert_eq!(output.answer(), counts(2, below), "{below}");
    }
}

fn more_counts_than_cores(style: &Style) {
    for tasks in [1, 37] {
        let number = tasks.to_string();
        let args = ["cpu-bound", "--quiet", "--tasks", &number, "--below", "12000"];
        assert_eq!(run(style, &args).answer(), counts(tasks, 12_000));
    }
}

/// The second functions of a workload (`--way NAME`); a wrong name lists them.
fn every_way_gives_the_same_answer(style: &Style) {
    let small = [
        ("io-bound", "--pages=5"),
        ("cpu-bound", "--below=1000"),
        ("shared-state", "--transfers=100"),
    ];
    for (workload, size) in small {
        let refused = run(style, &[workload, "--way", "unknown"]).stderr;
        let (_, ways) = refused.trim_end().rsplit_once(" has ").expect("it says which there are");
        for way in ways.split(", ").filter(|ways| *ways != "none here") {
            let expected = run(style, &[workload, "--quiet", size]).answer();
            let answer = run(style, &[workload, "--quiet", size, "--way", way]).answer();
            assert_eq!(answer, expected, "{style:?}: {workload} --way {way}");
        }
    }
}

fn counts(tasks: usize, below: usize) -> String {
    let primes = primes(below);
    let line = |task| format!("task {task}: {primes} primes below {below}\n");
    (0..tasks).map(line).collect()
}

/// A sieve, as the programs try divisors.
fn primes(below: usize) -> usize {
    let mut prime = vec![true; below];
    for n in 2..below {
        (n * n..below).step_by(n).for_each(|multiple| prime[multiple] = false);
    }
    prime.iter().skip(2).filter(|&&prime| prime).count()
}

// ---- pages of other servers ----------------------------------------------------------------

fn pages_of_a_foreign_server(style: &Style) {
    let server = foreign::server().expect("a server");
    let (mut urls, mut expected) = (Vec::new(), String::new());
    let width = format!("http://{server}/chunked-byte-by-byte").len();
    for (path, body) in foreign::good() {
        let url = format!("http://{server}{path}");
        expected += &line(&url, width, &body);
        urls.push(url);
    }
    for flags in [&["io-bound", "--quiet"][..], &["io-bound", "--quiet", "--at-once", "2"]] {
        let args: Vec<&str> =
            flags.iter().copied().chain(urls.iter().map(String::as_str)).collect();
        let output = run(style, &args);
        assert_eq!(output.stderr, "");
        assert_eq!(output.answer(), expected);
    }
}

fn broken_pages_of_a_foreign_server(style: &Style) {
    let server = foreign::server().expect("a server");
    let width = format!("http://{server}/drips-for-ever").len();
    let mut args: Vec<String> = ["io-bound", "--quiet", "--timeout", "2s"].map(String::from).into();
    let mut expected = Vec::new();
    for (path, words) in foreign::BROKEN {
        let url = format!("http://{server}{path}");
        expected.push(format!("{url:width$}  {words}\n"));
        args.push(url);
    }
    // The page that is not broken arrives.
    let (path, body) = foreign::good().swap_remove(0);
    let url = format!("http://{server}{path}");
    expected.push(line(&url, width, &body));
    args.push(url);
    let output = run(style, &args);
    assert_eq!(output.stdout, expected.concat());
    // A failed page of a given URL is a failure. The error names the first of them.
    assert_eq!(output.code, 1);
    let url = &args[4];
    let reason = "closed before the end";
    assert_eq!(output.stderr, format!("error: io-bound: could not fetch {url}  {reason}\n"));
}

fn nobody_listens(style: &Style) {
    let site = Site::in_thread().expect("a site");
    let url = format!("http://{}/", site.refused());
    let output = run(style, &["io-bound", "--quiet", &url]);
    assert_eq!((output.code, output.stdout), (1, format!("{url}  connection refused\n")));
}

// ---- overlap, shown by rendezvous ----------------------------------------------------------

/// Every page is answered only after all of them have been requested.
fn gates_open_when_all_are_there(style: &Style) {
    let mut site = Site::in_thread().expect("a site");
    let urls = gates(&site, 40, 40);
    let output = run(style, &with(&["io-bound", "--quiet", "--timeout", "60s"], &urls));
    assert_eq!(output.answer(), gate_lines(&urls));
    assert_eq!(site.stats().expect("the site answers").most_open, 40);
}

/// The test above can fail: a style that does not request all at once waits until the timeout.
fn gates_stay_shut_when_too_few_are_at_once(style: &Style) {
    let site = Site::in_thread().expect("a site");
    let urls = gates(&site, 4, 4);
    let flags = ["io-bound", "--quiet", "--at-once", "3", "--timeout", "500ms"];
    let output = run(style, &with(&flags, &urls));
    let late = |url| format!("{url}  timed out\n");
    let expected: String = urls.iter().map(late).collect();
    assert_eq!((output.code, output.stdout), (1, expected));
}

/// Three workers: any three pages arrive together, and there are never four.
fn as_many_at_once_as_asked_for(style: &Style) {
    let mut site = Site::in_thread().expect("a site");
    let urls = gates(&site, 9, 3);
    let flags = ["io-bound", "--quiet", "--at-once", "3", "--timeout", "60s"];
    assert_eq!(run(style, &with(&flags, &urls)).answer(), gate_lines(&urls));
    assert_eq!(site.stats().expect("the site answers").most_open, 3);
}

/// `n` pages that wait until `of` are requested.
fn gates(site: &Site, n: u64, of: usize) -> Vec<String> {
    // Page numbers of one width: their lines need no padding.
    (2000..2000 + n).map(|n| format!("http://{}/gate/{n}?of={of}", site.address())).collect()
}

fn gate_lines(urls: &[String]) -> String {
    (2000..).zip(urls).map(|(n, url)| line(url, url.len(), &page(n))).collect()
}

fn with<'a>(flags: &[&'a str], urls: &'a [String]) -> Vec<&'a str> {
    flags.iter().copied().chain(urls.iter().map(String::as_str)).collect()
}

// ---- scale ---------------------------------------------------------------------------------

/// As many pages at once as the style is made for.
fn many_pages(style: &Style) {
    let n = style.pages as u64;
    own(style, n, &["--latency", "100ms", "--timeout", "60s"]);
}

fn large_pages(style: &Style) {
    let site = Site::in_thread().expect("a site");
    let url = |way: &str| format!("http://{}/{way}/1048576", site.address());
    let urls = ["page", "chunked", "close", "old", "hints"].map(url);
    let width = urls.iter().map(String::len).max().unwrap_or(0);
    let body = page(1 << 20);
    let expected: String = urls.iter().map(|url| line(url, width, &body)).collect();
    assert_eq!(run(style, &with(&["io-bound", "--quiet"], &urls)).answer(), expected);
}
