//! early-results: pages are passed on as they come, and the rest is cancelled.

use tests::programs::run;
use tests::reports::{document, measured, verdict};
use tests::styles::{COROUTINES, Style};

tests::for_every_style! {
    all_pages_then_exactly_so_many,
    one_page_and_no_time_at_all,
    more_than_there_are,
    nothing_is_left_open,
    the_ladder_fits,
}

fn all_pages_then_exactly_so_many(style: &Style) {
    let flags = ["early-results", "--quiet", "--pages", "3", "--take", "2", "--latency", "5ms"];
    let output = run(style, &flags);
    assert_eq!(output.stderr, "");
    let expected = "\
        /page/0  200    1024 bytes  crc32 0b504ace\n\
        /page/1  200    1024 bytes  crc32 91e2db54\n\
        /page/2  200    1024 bytes  crc32 3a3eff2a\n\
        stopped after 2: 2 pages\n";
    assert_eq!(output.answer(), expected);
}

fn one_page_and_no_time_at_all(style: &Style) {
    let flags = ["early-results", "--quiet", "--pages", "1", "--take", "1", "--latency", "0s"];
    let answer = run(style, &flags).answer();
    assert_eq!(answer.lines().nth(1), Some("stopped after 1: 1 page"), "{answer}");
}

fn more_than_there_are(style: &Style) {
    let flags = ["early-results", "--quiet", "--pages", "2", "--take", "9", "--latency", "1ms"];
    let answer = run(style, &flags).answer();
    assert_eq!(answer.lines().nth(2), Some("stopped after 2: 2 pages"), "{answer}");
}

/// As the site counts, in several runs; the slowest pages take half a second.
fn nothing_is_left_open(style: &Style) {
    let flags = ["--pages", "5", "--latency", "100ms", "--take", "1", "--repeat", "3"];
    let measured = measured(style, "early-results", &flags);
    assert_eq!(measured["left_open"], 0, "{measured}");
}

fn the_ladder_fits(style: &Style) {
    let output = run(style, &["early-results", "--pages", "40", "--latency", "1ms"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("… and 28 more"), "{}", output.stderr);
    output.fits();
}

/// A generator fetches nothing before it is requested.
#[test]
fn the_first_comes_long_before_the_last() {
    let flags = ["--pages", "6", "--latency", "50ms", "--take", "2"];
    let document = document(&COROUTINES, "early-results", &flags);
    assert_eq!(verdict(&document, "K7"), "holds");
    let measured = &document["workloads"]["early-results"]["measured"];
    assert_eq!(measured["unanswered"], 4, "{measured}");
}
