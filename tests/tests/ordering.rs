//! ordering: in every style each task keeps its own order; all tasks together have one order, or
//! any.

use serde_json::Value;
use tests::programs::run;
use tests::reports::{document, measured, verdict};
use tests::styles::{COROUTINES, PROCESSES, STYLES, Style, THREADS};

tests::for_every_style! {
    every_task_is_in_its_own_order,
    repeated_runs_answer_once,
    two_runs_stand_above_each_other,
}

fn every_task_is_in_its_own_order(style: &Style) {
    let output = run(style, &["ordering", "--quiet", "--runs", "3"]);
    assert_eq!(output.stderr, "");
    let steps = "steps 1 2 3 4 5 6 7 8\n";
    assert_eq!(output.answer(), format!("task A: {steps}task B: {steps}task C: {steps}"));
}

fn repeated_runs_answer_once(style: &Style) {
    let measured = measured(style, "ordering", &["--runs", "2", "--repeat", "3"]);
    assert_eq!(orders(&measured).len(), 6);
    let args = ["ordering", "--quiet", "--runs", "2", "--repeat", "3"];
    assert_eq!(run(style, &args).answer().lines().count(), 3);
}

fn two_runs_stand_above_each_other(style: &Style) {
    let output = run(style, &["ordering", "--runs", "2"]);
    let rows: Vec<&str> = output.stderr.lines().filter(|l| l.starts_with("  run ")).collect();
    assert_eq!(rows.len(), 2, "{}", output.stderr);
    let letters = |row: &str| row.split_whitespace().skip(2).collect::<String>();
    for row in &rows {
        assert_eq!(letters(row).len(), 24, "{row}");
    }
    // Each difference is marked below the letters, and nothing else is.
    let marks = output.stderr.matches('≠').count();
    let pairs = rows[0].chars().zip(rows[1].chars()).skip("  run 1234 ".len());
    assert_eq!(marks, pairs.filter(|(a, b)| a != b).count(), "{}", output.stderr);
    output.fits();
}

/// All styles except those that the operating system schedules.
fn cooperative() -> impl Iterator<Item = &'static Style> {
    STYLES.iter().filter(|style| !style.preempted)
}

#[test]
fn cooperative_tasks_have_one_order() {
    for style in cooperative() {
        let measured = measured(style, "ordering", &["--runs", "30"]);
        let orders = orders(&measured);
        assert!(orders.iter().all(|order| order == &orders[0]), "{}: {orders:?}", style.name);
        assert_eq!(measured["different_orders"], 1, "{}", style.name);
        // They take turns: no task ends before the others begin.
        assert!(!orders[0].starts_with("AA"), "{}: {}", style.name, orders[0]);
        assert!(!orders[0].ends_with("CC"), "{}: {}", style.name, orders[0]);
    }
}

#[test]
fn the_order_is_the_same_in_another_process() {
    for style in cooperative() {
        let runs = [(); 2].map(|()| orders(&measured(style, "ordering", &["--runs", "1"])));
        assert_eq!(runs[0], runs[1], "{}", style.name);
    }
}

#[test]
fn preempted_tasks_have_many_orders() {
    for style in STYLES.iter().filter(|style| style.preempted) {
        let measured = measured(style, "ordering", &["--runs", "50"]);
        assert!(measured["different_orders"].as_u64() > Some(1), "{}", style.name);
    }
}

#[test]
fn preempted_tasks_have_many_orders_on_one_core() {
    for (style, preempted, differ) in [(&THREADS, "T2", "T3"), (&PROCESSES, "P2", "P3")] {
        let document = document(style, "ordering", &["--runs", "50", "--cores", "1"]);
        let measured = &document["workloads"]["ordering"]["measured"];
        assert!(measured["different_orders"].as_u64() > Some(1), "{}", style.name);
        // Three tasks that never yield on one core: only the kernel can have let a second one run.
        assert!(measured["preempted"].as_u64() > Some(0), "{}", style.name);
        assert_eq!(verdict(&document, preempted), "holds", "{}", style.name);
        assert_eq!(verdict(&document, differ), "holds", "{}", style.name);
    }
}

#[test]
fn coroutines_run_in_the_same_order() {
    let document = document(&COROUTINES, "ordering", &["--runs", "2"]);
    assert_eq!(verdict(&document, "K1"), "holds");
}

#[test]
fn one_run_decides_nothing() {
    for (style, claim) in [(&THREADS, "T3"), (&PROCESSES, "P3"), (&COROUTINES, "K1")] {
        let document = document(style, "ordering", &["--runs", "1"]);
        assert_eq!(verdict(&document, claim), "not measurable here", "{}", style.name);
    }
}

fn orders(measured: &Value) -> Vec<String> {
    let orders = measured["orders"].as_array().expect("a list").iter();
    orders.map(|order| order.as_str().expect("letters").to_string()).collect()
}
