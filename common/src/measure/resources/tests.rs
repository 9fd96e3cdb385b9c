use super::*;

#[test]
fn plain_threads_wait_and_pass_the_token_on() {
    let mut meter = Meter::default();
    plain_idle(20, &mut meter);
    assert_eq!(meter.reading.finished, 20);
    assert_eq!(plain_ring(2, 3), 6);
    assert_eq!(plain_ring(10, 100), 1000);
    assert_eq!(plain_ring(5, 0), 0);
}

#[test]
fn rows_fit_the_columns() {
    let times = Times { seconds: vec![0.0015, 0.0016] };
    let cost = Cost { name: "a plain thread".into(), ..Cost::default() };
    let cost = Cost {
        bytes: times.clone(),
        kernel: times.clone(),
        start: times.clone(),
        switch: times,
        ..cost
    };
    let rows: Vec<String> = FIGURES.iter().map(|figure| figure.row(&cost)).collect();
    assert!(rows.iter().all(|row| row.chars().count() <= 80), "{rows:?}");
}

fn cost([bytes, kernel, start]: [f64; 3]) -> Cost {
    let times = |x| Times { seconds: vec![x] };
    let (bytes, kernel, start) = (times(bytes), times(kernel), times(start));
    Cost { bytes, kernel, start, ..Cost::default() }
}

#[test]
fn verdicts_follow_the_figures() {
    let (yes, no, unknown) = ("holds", "does not hold", "not measurable here");
    let (one, other) = ([1e5, 1e5, 1e-3], [1e4, 1e4, 1e-5]);
    // Bytes, bytes in the kernel, seconds to start one: of a process, of a thread.
    for (process, thread, word) in [
        (one, other, yes),
        ([1e3, 1e3, 1e-3], other, no),
        (one, [1e6, 1e4, 1e-5], no),
        (one, [1e4, 1e6, 1e-5], no),
        ([1e4, 1e3, 1e-3], other, no),
        ([1e5, 1e5, 1e-6], other, unknown),
        (one, [1e4, 1e4, 1e-2], unknown),
        ([0.0, 1e5, 1e-3], other, unknown),
        (one, [0.0, 1e4, 1e-5], unknown),
    ] {
        let (cost, thread) = (cost(process), cost(thread));
        let m = Measured { cost, thread, other_loops: Vec::new() };
        assert_eq!(more_than_a_thread(&m).word(), word, "{m:?}");
    }
}

#[test]
fn the_expectation_follows_who_was_there() {
    let tasks = 3;
    for (counted, finished, threads, there) in [
        (true, 3, 3, true),
        (true, 3, 2, false),
        (true, 2, 3, false),
        (false, 3, 0, true),
        (false, 2, 0, false),
    ] {
        let cost = Cost { tasks, counted, ..Cost::default() };
        let reading = Reading { threads, finished, ..Reading::default() };
        assert_eq!(all_there(&cost, &reading), there, "{counted}, {reading:?}");
    }
    for (waited, start, word) in [
        (2, vec![0.1, 0.1], "holds"),
        (1, vec![0.1, 0.1], "does not hold"),
        (0, vec![], "does not hold"),
    ] {
        let cost = Cost { tasks, waited, start: Times { seconds: start }, ..Cost::default() };
        let thread = Cost::default();
        let m = Measured { cost, thread, other_loops: Vec::new() };
        assert_eq!(all_waited(&m).word(), word, "{m:?}");
    }
}
