//! resources: what a task costs, and what happens when the machine has no more of them.

use tests::programs::{Setup, run};
use tests::reports::{document, measured, verdict};
use tests::styles::{
    COROUTINES, GEVENT_STYLE, ON_SMOL, ON_TOKIO, PROCESSES, Style, THREADS, TWISTED_STYLE,
};

tests::for_every_style! {
    all_tasks_and_the_token,
    one_task,
    figures_of_every_kind,
    beyond_what_the_style_holds,
    the_bars_fit,
}

fn all_tasks_and_the_token(style: &Style) {
    let flags = ["resources", "--quiet", "--tasks", "20", "--ring", "3", "--laps", "7"];
    let output = run(style, &flags);
    assert_eq!(output.stderr, "");
    let expected = "\
        idle: every task started, waited and finished\n\
        ring: the token came home\n";
    assert_eq!(output.answer(), expected);
}

fn one_task(style: &Style) {
    let flags = ["resources", "--tasks", "1", "--ring", "2", "--laps", "1"];
    assert_eq!(run(style, &flags).code, 0);
}

fn figures_of_every_kind(style: &Style) {
    let flags = ["--tasks", "100", "--repeat", "2"];
    let measured = measured(style, "resources", &flags);
    let own = style.event_loop.unwrap_or(style.program);
    for kind in [own, "a plain thread"] {
        for figure in ["bytes", "start_s", "switch_s"] {
            let runs = measured[kind][figure]["runs"].as_array();
            let runs = runs.unwrap_or_else(|| panic!("{kind}, {figure}: {measured}"));
            assert_eq!(runs.len(), 2, "{measured}");
            assert!(runs.iter().all(|run| run.as_f64() > Some(0.0)), "{kind}, {figure}: {runs:?}");
        }
    }
    // A style with several loops is measured on all of them.
    let kinds = measured.as_object().expect("figures by name");
    let loops =
        kinds.keys().filter(|kind| !["a plain thread", "limits"].contains(&kind.as_str())).count();
    assert_eq!(loops, if style.event_loop.is_some() { 3 } else { 1 }, "{measured}");
}

fn beyond_what_the_style_holds(style: &Style) {
    let output = run(style, &["resources", "--tasks", "1000001"]);
    assert_eq!(output.code, 2, "{}", output.stderr);
    let sentence = format!("error: 1000001 tasks: {} holds ", style.program);
    assert!(output.stderr.starts_with(&sentence), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

fn the_bars_fit(style: &Style) {
    let output = run(style, &["resources", "--tasks", "50", "--repeat", "2", "--laps", "10"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.fits();
}

/// A machine with too little for them: one sentence, and no panic.
#[test]
fn beyond_what_the_machine_holds() {
    let scarce = [
        (THREADS, "ulimit -v 400000", "10000"),
        (PROCESSES, "ulimit -n 128", "200"),
        (COROUTINES, "ulimit -v 400000", "30000"),
        (GEVENT_STYLE, "ulimit -v 700000", "30000"),
        (TWISTED_STYLE, "ulimit -v 130000", "1000000"),
        (ON_TOKIO, "ulimit -v 300000", "1000000"),
        (ON_SMOL, "ulimit -v 200000", "1000000"),
    ];
    for (style, limit, tasks) in scarce {
        let flags = ["resources", "--quiet", "--tasks", tasks];
        let output = Setup::in_shell(&format!("{limit}; \"$0\" \"$@\""), &style, &flags).run();
        let said = output.stderr;
        assert_eq!(output.code, 1, "{}: {said}", style.name);
        assert_eq!(output.stdout, "", "{}", style.name);
        assert!(said.contains(&format!("{tasks} tasks")), "{}: {said}", style.name);
        assert_eq!(said.lines().count(), 1, "{}: {said}", style.name);
        assert!(!said.contains("panicked"), "{}: {said}", style.name);
    }
}

#[test]
fn a_process_costs_more_than_a_thread() {
    let document = document(&PROCESSES, "resources", &["--tasks", "50", "--repeat", "3"]);
    assert_ne!(verdict(&document, "P7"), "does not hold");
}
