//! pause: while the counter is paused it makes nothing.

use tests::programs::{COROUTINES, Version};
use tests::reports::{document, measured, verdict};

tests::for_every_version! {
    nothing_is_made_meanwhile,
}

fn nothing_is_made_meanwhile(version: &Version) {
    let measured = measured(version, "pause", &["--hold", "200ms", "--repeat", "2"]);
    assert_eq!(measured["made_while_paused"], 0, "{measured}");
}

#[test]
fn the_caller_decides() {
    let document = document(&COROUTINES, "pause", &["--hold", "0s"]);
    assert_eq!(verdict(&document, "K8"), "holds");
}
