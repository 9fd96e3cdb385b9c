//! interactivity: careless computing stops the heart, except in threads and processes.

use serde_json::Value;
use tests::programs::run;
use tests::reports::{document, verdict};
use tests::styles::{COROUTINES, Style, THREADS, TWISTED_STYLE};

tests::for_every_style! {
    all_beats_and_the_count,
    one_beat_and_hardly_a_count,
    the_strips_fit,
    a_long_count,
}

fn all_beats_and_the_count(style: &Style) {
    let output = run(style, &["interactivity", "--quiet", "--beats", "7", "--below", "100"]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.answer(), "25 primes below 100, 7 beats\n");
}

fn one_beat_and_hardly_a_count(style: &Style) {
    let output = run(style, &["interactivity", "--quiet", "--beats", "1", "--below", "1"]);
    assert_eq!(output.answer(), "0 primes below 1, 1 beat\n");
}

fn the_strips_fit(style: &Style) {
    for beats in ["1", "30", "90"] {
        let output = run(style, &["interactivity", "--beats", beats]);
        assert_eq!(output.code, 0);
        assert!(output.stderr.contains("careless  ♥"), "{}", output.stderr);
        output.fits();
    }
}

/// A heart that would beat for two seconds, and a count of more than 0.1 s. If the count runs
/// carelessly on the heart's own thread, none of the beats come that are due meanwhile. If it runs
/// with care, some of them come.
fn a_long_count(style: &Style) {
    let document = document(style, "interactivity", &["--beats", "100", "--below", "2000000"]);
    let measured = &document["workloads"]["interactivity"]["measured"];
    let [careless, careful] = ["careless", "careful"].map(|way| &measured[way]);
    for beats in [careless, careful] {
        assert!(beats["beats_due"].as_u64() >= Some(10), "{beats}");
    }
    let some = |beats: &Value| beats["beats_came"].as_u64() > Some(0);
    assert_eq!(some(careless), style.preempted, "{careless}");
    assert_eq!(careless["threads_apart"], style.preempted, "{careless}");
    assert!(some(careful), "{careful}");
    assert_eq!(careful["threads_apart"], style.computes_apart, "{careful}");
    // The talk claims this of one thread.
    let claims = document["claims"].as_array().expect("a list").iter();
    let said = claims.filter(|claim| ["K2", "A1"].map(Value::from).contains(&claim["id"]));
    let said: Vec<&Value> = said.collect();
    assert_eq!(said.is_empty(), style.preempted, "K2 or A1 is a claim of one thread");
    assert!(said.iter().all(|claim| claim["verdict"] == "holds"), "{document}");
}

#[test]
fn too_short_a_count_decides_nothing() {
    for (style, claim) in [(THREADS, "T10"), (COROUTINES, "K2"), (TWISTED_STYLE, "W4")] {
        let document = document(&style, "interactivity", &["--beats", "1"]);
        assert_eq!(verdict(&document, claim), "not measurable here", "{}", style.name);
    }
}
