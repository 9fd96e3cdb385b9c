//! deadline: pages that are cut at a deadline leave nothing behind.

use tests::programs::run;
use tests::reports::measured;
use tests::styles::Style;

tests::for_every_style! {
    what_never_answers_is_cut,
    nothing_is_left_behind,
    a_deadline_that_is_too_near,
}

/// A page that never answers, one that sends a byte every 100 ms, one that stops in the middle.
fn what_never_answers_is_cut(style: &Style) {
    let output = run(style, &["deadline", "--with-failures", "--deadline", "1s"]);
    assert!(output.stderr.contains("3 of 8 pages cut"), "{}", output.stderr);
    output.fits();
    let expected = "\
        /page/0        200    1024 bytes  crc32 0b504ace\n\
        /page/1        200    1024 bytes  crc32 91e2db54\n\
        /page/2        200    1024 bytes  crc32 3a3eff2a\n\
        /page/3        200    1024 bytes  crc32 968e9c3e\n\
        /page/4        200    1024 bytes  crc32 42b02484\n\
        /stall         timed out\n\
        /drip/0        timed out\n\
        /stall-body/1  timed out\n";
    assert_eq!(output.answer(), expected);
}

/// As the kernel counts threads, children and descriptors, and as the site counts requests.
fn nothing_is_left_behind(style: &Style) {
    let flags = ["--with-failures", "--deadline", "1s", "--repeat", "2"];
    let measured = measured(style, "deadline", &flags);
    assert_eq!(measured["left_behind"], 0, "{measured}");
    assert_eq!(measured["cut"], 3, "{measured}");
    // There is something to count: the site is a child, and has a descriptor here.
    assert_eq!(measured["after"]["children"], 1, "{measured}");
    assert!(measured["after"]["descriptors"].as_u64() > Some(3), "{measured}");
}

fn a_deadline_that_is_too_near(style: &Style) {
    let output = run(style, &["deadline", "--deadline", "60ms"]);
    assert_eq!(output.code, 2, "{}", output.stderr);
    let sentence = "error: --deadline 60ms: the pages take 50ms, so it is 100ms at least\n";
    assert_eq!(output.stderr, sentence);
    assert_eq!(output.stdout, "");
}
