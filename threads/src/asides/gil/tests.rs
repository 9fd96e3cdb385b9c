use super::*;

/// Two threads that release the lock only on request, or by ticks, both get their turns.
fn everybody_gets_a_turn(policy: Policy) {
    let gil = Gil::new(policy);
    let turns = [AtomicUsize::new(0), AtomicUsize::new(0)];
    thread::scope(|scope| {
        for me in 0..2 {
            let (gil, turns) = (&gil, &turns);
            scope.spawn(move || {
                let _held = gil.acquire();
                let mut ticks = 0;
                // Neither ends before the other has run: without hand-overs this never ends.
                while turns[1 - me].load(SeqCst) == 0 || turns[me].load(SeqCst) < 1000 {
                    turns[me].fetch_add(1, SeqCst);
                    gil.safe_point(&mut ticks);
                }
            });
        }
    });
    assert_eq!(gil.most_inside.load(SeqCst), 1);
    assert!(gil.lock().switches >= 1);
}

#[test]
fn a_holder_that_is_asked_releases_it() {
    everybody_gets_a_turn(Policy::Interval(Duration::from_micros(200)));
}

#[test]
fn a_holder_releases_it_after_its_ticks() {
    everybody_gets_a_turn(Policy::Ticks(10));
}

#[test]
fn a_holder_releases_it_after_no_ticks_too() {
    everybody_gets_a_turn(Policy::Ticks(0));
}

#[test]
fn io_lets_another_run() {
    let gil = Gil::new(Policy::Interval(Duration::from_hours(1)));
    let held = gil.acquire();
    thread::scope(|scope| {
        let other = scope.spawn(|| drop(gil.acquire()));
        gil.allow_threads(|| other.join().expect("it takes the lock, which is free"));
    });
    drop(held);
    assert_eq!(gil.lock().switches, 2);
}

#[test]
fn a_panic_leaves_the_lock_to_the_others() {
    let gil = Gil::new(Policy::Interval(Duration::from_hours(1)));
    let panics = || panic::resume_unwind(Box::new("while it held the lock"));
    thread::scope(|scope| {
        let computes = scope.spawn(|| {
            let _held = gil.acquire();
            panics();
        });
        assert!(computes.join().is_err());
        let waits = scope.spawn(|| {
            let _held = gil.acquire();
            gil.allow_threads(panics);
        });
        assert!(waits.join().is_err());
        scope.spawn(|| drop(gil.acquire()));
    });
    assert_eq!((gil.lock().holder, gil.inside.load(SeqCst)), (None, 0));
}

#[test]
fn to_acquire_it_twice_panics() {
    let gil = Gil::new(Policy::Interval(INTERVAL));
    let twice = || {
        let _held = gil.acquire();
        drop(gil.acquire());
    };
    let panicked = thread::scope(|scope| scope.spawn(twice).join().is_err());
    assert!(panicked);
    drop(gil.acquire());
}

#[test]
fn without_figures_there_is_no_verdict() {
    for judge in [one_runs_at_a_time, one_loses_nothing, three_gain_nothing] {
        assert!(matches!(judge(&Section::default()), Verdict::NotMeasurable(_)));
    }
}

/// The figures of an experiment: all as with a correct lock, except one.
fn with(act: &str, name: &str, figure: f64) -> Section {
    let mut section = Section::default();
    let good = json!({"seconds": 1.0, "cores": 1.0, "switches": 9, "requests": 9, "in_vain": 9,
        "most_inside": 1});
    for act in ["3 under it", "3, before 3.2"] {
        section.measure(act, good.clone());
    }
    section.measure("3, no GIL", json!({"cores": 2.0}));
    section.measure("1, no GIL", json!({"seconds": 1.0, "cores": 1.0}));
    section.measure(
        "1 under it",
        json!({"seconds": 1.0, "cores": 1.0, "requests": 0, "in_vain": 0, "most_inside": 1}),
    );
    section.measured[act][name] = json!(figure);
    section
}

type Judge = fn(&Section) -> Verdict;

#[test]
fn verdicts_follow_the_figures() {
    let good = with("3 under it", "most_inside", 1.0);
    for judge in [one_runs_at_a_time, one_loses_nothing, three_gain_nothing] {
        assert!(matches!(judge(&good), Verdict::Holds(_)), "{:?}", judge(&good));
    }
    let broken: [(&str, &str, f64, Judge); 7] = [
        ("3 under it", "most_inside", 2.0, one_runs_at_a_time),
        ("3 under it", "switches", 0.0, one_runs_at_a_time),
        ("1 under it", "requests", 1.0, one_loses_nothing),
        ("1 under it", "in_vain", 1.0, one_loses_nothing),
        ("1 under it", "seconds", 3.0, one_loses_nothing),
        ("3 under it", "cores", 1.9, three_gain_nothing),
        ("3 under it", "requests", -9.0, three_gain_nothing),
    ];
    for (act, name, figure, judge) in broken {
        let verdict = judge(&with(act, name, figure));
        assert!(matches!(verdict, Verdict::Fails(_)), "{act}, {name} {figure}: {verdict:?}");
    }
    let one_core = three_gain_nothing(&with("3, no GIL", "cores", 1.0));
    assert!(matches!(one_core, Verdict::NotMeasurable(_)), "{one_core:?}");
}
