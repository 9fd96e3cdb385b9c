//! The asides as programs: those that need processes of their own, which a unit test does not have.

use std::process::Command;

use serde_json::Value;

fn aside(name: &str) -> Value {
    let program = env!("CARGO_BIN_EXE_gevent-style");
    let output = Command::new(program).args([name, "--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn verdict<'a>(report: &'a Value, id: &str) -> &'a str {
    let claims = report["claims"].as_array().unwrap();
    let claim = claims.iter().find(|claim| claim["id"] == id);
    claim.and_then(|claim| claim["verdict"].as_str()).unwrap()
}

#[test]
fn unpatched_calls_come_one_at_a_time_and_patched_ones_all_at_once() {
    let report = aside("monkey-patching");
    assert_eq!(verdict(&report, "G3"), "holds");
    let measured = &report["asides"]["monkey-patching"]["measured"];
    for call in ["thread::sleep", "std::net", "ureq"] {
        assert_eq!(measured[call]["before"]["at_once"], 1, "{call}");
        assert_eq!(measured[call]["after"]["at_once"], 200, "{call}");
        assert_eq!(measured[call]["after"]["threads"], 1, "{call}");
    }
}

#[test]
fn one_loop_ends_every_wait() {
    let report = aside("hub");
    assert_eq!(report["asides"]["hub"]["ok"], true);
    assert_eq!(verdict(&report, "G4"), "holds");
}

#[test]
fn one_worker_keeps_the_order_until_a_timed_call_changes_the_thread() {
    let report = aside("many-workers");
    let one = &report["asides"]["many-workers"]["measured"]["one"];
    assert_eq!(one["orders"], 1);
    assert_eq!(one["threads"], 1);
    assert_eq!(one["threads_after_sleep"], 2);
}
