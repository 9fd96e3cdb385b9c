//! interactivity: who computes without care stops the heart, but for threads and processes.

use serde_json::Value;
use tests::programs::{
    COROUTINES, GEVENT_STYLE, ON_ASYNC_STD, ON_SMOL, ON_TOKIO, PROCESSES, THREADS, TWISTED_STYLE,
    Version, run,
};
use tests::reports::{document, verdict};

tests::for_every_version! {
    all_beats_and_the_count,
    one_beat_and_hardly_a_count,
    the_strips_fit,
    careful_lets_the_heart_beat,
}

fn all_beats_and_the_count(version: &Version) {
    let output = run(version, &["interactivity", "--quiet", "--beats", "7", "--below", "100"]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.answer(), "25 primes below 100, 7 beats\n");
}

fn one_beat_and_hardly_a_count(version: &Version) {
    let output = run(version, &["interactivity", "--quiet", "--beats", "1", "--below", "1"]);
    assert_eq!(output.answer(), "0 primes below 1, 1 beats\n");
}

fn the_strips_fit(version: &Version) {
    for beats in ["1", "30", "200"] {
        let output = run(version, &["interactivity", "--beats", beats]);
        assert_eq!(output.code, 0);
        assert!(output.stderr.contains("careless  ♥"), "{}", output.stderr);
        assert!(output.stderr.lines().all(|line| line.chars().count() <= 80), "{}", output.stderr);
    }
}

/// Beats that are due while somebody counts for a while: some come.
fn careful_lets_the_heart_beat(version: &Version) {
    let document = long(version);
    let careful = &document["workloads"]["interactivity"]["measured"]["careful"];
    assert!(careful["beats_due"].as_u64() >= Some(10), "{careful}");
    assert!(careful["beats_came"].as_u64() > Some(0), "{careful}");
}

#[test]
fn careless_stops_the_heart_on_one_thread() {
    for version in [COROUTINES, GEVENT_STYLE, TWISTED_STYLE, ON_TOKIO, ON_ASYNC_STD, ON_SMOL] {
        let document = long(&version);
        let careless = &document["workloads"]["interactivity"]["measured"]["careless"];
        assert!(careless["beats_due"].as_u64() >= Some(10), "{}: {careless}", version.name);
        assert_eq!(careless["beats_came"], 0, "{}: {careless}", version.name);
        assert_eq!(careless["threads_apart"], false, "{}: {careless}", version.name);
        let claim = if version.name == "coroutines" { "K2" } else { "A1" };
        assert_eq!(verdict(&document, claim), "holds", "{}", version.name);
    }
}

#[test]
fn careless_does_no_harm_in_threads_and_processes() {
    for version in [THREADS, PROCESSES] {
        let document = long(&version);
        let careless = &document["workloads"]["interactivity"]["measured"]["careless"];
        assert!(careless["beats_due"].as_u64() >= Some(10), "{}: {careless}", version.name);
        assert!(careless["beats_came"].as_u64() > Some(0), "{}: {careless}", version.name);
        assert_eq!(careless["threads_apart"], true, "{}: {careless}", version.name);
    }
}

#[test]
fn what_blocks_goes_to_a_thread() {
    for version in [GEVENT_STYLE, TWISTED_STYLE, ON_TOKIO, ON_ASYNC_STD, ON_SMOL] {
        let document = long(&version);
        let careful = &document["workloads"]["interactivity"]["measured"]["careful"];
        assert_eq!(careful["threads_apart"], true, "{}: {careful}", version.name);
    }
    let document = long(&COROUTINES);
    let careful = &document["workloads"]["interactivity"]["measured"]["careful"];
    assert_eq!(careful["threads_apart"], false, "coroutines: {careful}");
}

#[test]
fn too_short_a_count_decides_nothing() {
    for (version, claim) in [(THREADS, "T10"), (COROUTINES, "K2"), (TWISTED_STYLE, "W4")] {
        let document = document(&version, "interactivity", &["--beats", "1"]);
        assert_eq!(verdict(&document, claim), "not measurable here", "{}", version.name);
    }
}

/// What is seen of a heart that would beat for two seconds, and a count of more than a tenth of one.
fn long(version: &Version) -> Value {
    document(version, "interactivity", &["--beats", "200", "--below", "2000000"])
}
