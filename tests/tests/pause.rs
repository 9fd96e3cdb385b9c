//! pause: while the counter is paused it makes nothing.

use tests::reports::{document, measured, verdict};
use tests::styles::{COROUTINES, Style};

tests::for_every_style! {
    nothing_is_made_meanwhile,
}

fn nothing_is_made_meanwhile(style: &Style) {
    let measured = measured(style, "pause", &["--hold", "200ms", "--repeat", "2"]);
    assert_eq!(measured["made_while_paused"], 0, "{measured}");
}

#[test]
fn the_caller_decides() {
    let document = document(&COROUTINES, "pause", &["--hold", "0s"]);
    assert_eq!(verdict(&document, "K8"), "holds");
}
