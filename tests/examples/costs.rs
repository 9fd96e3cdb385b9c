//! What a task costs in every style, as the table of the README: medians of several runs, in turns,
//! with a switch of the bare library beside our own.
//! Run it: cargo run --release -p tests --example costs

use std::collections::VecDeque;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use corosensei::{Coroutine, CoroutineResult};
use serde_json::Value;

use tests::costs::{PLAIN, head, line};
use tests::reports::measured;
use tests::styles::{STYLES, Style};

/// How many runs of each, one after the other.
const ROUNDS: usize = 5;

/// Tasks in the ring, as in the programs.
const RING: usize = 10;

/// How many laps the token makes: in the faster libraries, and in those that use the kernel.
const LAPS: usize = 100_000;
const SLOW_LAPS: usize = 2_000;

fn main() {
    may::config().set_workers(1);
    let mut runs: Vec<Vec<Run>> = STYLES.iter().map(|_| Vec::new()).collect();
    let mut plain = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (style, runs) in STYLES.iter().zip(&mut runs) {
            let mut measured = measured(style, "resources", &[]);
            let own = style.event_loop.unwrap_or(style.program);
            runs.push(Run::new(&measured[own].take(), floor(style)));
            plain.push(Run::new(&measured[PLAIN].take(), None));
        }
    }
    for row in head() {
        println!("{row}");
    }
    for (style, runs) in STYLES.iter().zip(&runs) {
        println!("{}", row(style.name, runs));
    }
    println!("{}", row(PLAIN, &plain));
}

/// The figures of one run of one style.
struct Run {
    tasks: u64,
    bytes: f64,
    /// What the kernel keeps for a task as well.
    kernel_bytes: f64,
    start_s: f64,
    switch_s: f64,
    /// Seconds per switch of the bare library, measured right after.
    floor_s: Option<f64>,
}

impl Run {
    fn new(figures: &Value, floor_s: Option<f64>) -> Run {
        let median = |figure: &str| figures[figure]["median"].as_f64().expect("it was measured");
        Run {
            tasks: figures["tasks"].as_u64().expect("it was measured"),
            bytes: median("bytes"),
            kernel_bytes: median("kernel_bytes"),
            start_s: median("start_s"),
            switch_s: median("switch_s"),
            floor_s,
        }
    }
}

fn row(name: &str, runs: &[Run]) -> String {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let floors: Vec<f64> = runs.iter().filter_map(|run| run.floor_s).collect();
    let factors = runs.iter().filter_map(|run| Some(run.switch_s / run.floor_s?));
    let floor = if floors.is_empty() {
        "–".to_string()
    } else {
        format!("{}, {:.2} ×", time(median(floors)), median(factors.collect()))
    };
    let cells = [
        name.to_string(),
        runs[0].tasks.to_string(),
        bytes(of(|run| run.bytes)),
        bytes(of(|run| run.kernel_bytes)),
        time(of(|run| run.start_s)),
        time(of(|run| run.switch_s)),
        floor,
    ];
    line(&cells)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn bytes(n: f64) -> String {
    if n < 1024.0 { format!("{n:.0} B") } else { format!("{:.1} KiB", n / 1024.0) }
}

fn time(s: f64) -> String {
    match s * 1e9 {
        ns if ns < 1000.0 => format!("{ns:.0} ns"),
        ns => format!("{:.1} µs", ns / 1e3),
    }
}

// ---- the floor: the same ring, with nothing of ours ----------------------------------------

fn floor(style: &Style) -> Option<f64> {
    match style.name {
        "threads" => Some(timed(SLOW_LAPS, on_std)),
        "coroutines" => Some(timed(LAPS, on_corosensei)),
        "gevent-style" => Some(timed(LAPS, on_may)),
        "on_tokio" => Some(timed(LAPS, on_tokio)),
        "on_async_std" => Some(timed(LAPS, on_async_std)),
        "on_smol" => Some(timed(LAPS, on_smol)),
        // Processes have pipes, and Twisted has a reactor of our own: there is nothing below.
        _ => None,
    }
}

/// Seconds per switch.
fn timed(laps: usize, ring: fn(usize) -> usize) -> f64 {
    let start = Instant::now();
    let token = ring(laps);
    let took = start.elapsed().as_secs_f64();
    assert_eq!(token, RING * laps, "every task passed the token on");
    took / token as f64
}

fn on_std(laps: usize) -> usize {
    let (first, mut inbox) = mpsc::channel();
    for _ in 1..RING {
        let (outbox, next) = mpsc::channel();
        thread::spawn(move || inbox.iter().try_for_each(|token| outbox.send(token + 1)));
        inbox = next;
    }
    (0..laps).fold(0, |token, _| {
        first.send(token + 1).expect("the ring is unbroken");
        inbox.recv().expect("the ring is unbroken")
    })
}

fn on_may(laps: usize) -> usize {
    let ring = move || {
        let (first, mut inbox) = may::sync::mpsc::channel();
        for _ in 1..RING {
            let (outbox, next) = may::sync::mpsc::channel();
            may::go!(move || while let Ok(token) = inbox.recv() {
                let _ = outbox.send(token + 1);
            });
            inbox = next;
        }
        (0..laps).fold(0, |token, _| {
            first.send(token + 1).expect("the ring is unbroken");
            inbox.recv().expect("the ring is unbroken")
        })
    };
    may::go!(ring).join().expect("passing it on does not panic")
}

/// The first in the queue is resumed: the least that greenlets can do.
fn on_corosensei(laps: usize) -> usize {
    let mut line: VecDeque<Coroutine<usize, usize, ()>> = VecDeque::new();
    for _ in 0..RING {
        line.push_back(Coroutine::new(move |yielder, mut token| {
            for _ in 0..=laps {
                token = yielder.suspend(token + 1);
            }
        }));
    }
    let mut token = 0;
    for _ in 0..RING * laps {
        let mut next = line.pop_front().expect("there are ten");
        if let CoroutineResult::Yield(passed_on) = next.resume(token) {
            token = passed_on;
        }
        line.push_back(next);
    }
    token
}

fn on_tokio(laps: usize) -> usize {
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::mpsc::unbounded_channel;
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default());
    runtime.expect("there is a descriptor left for an epoll").block_on(async {
        let (first, mut inbox) = unbounded_channel();
        for _ in 1..RING {
            let (outbox, next) = unbounded_channel();
            tokio::task::spawn_local(async move {
                while let Some(token) = inbox.recv().await {
                    let _ = outbox.send(token + 1);
                }
            });
            inbox = next;
        }
        let mut token = 0;
        for _ in 0..laps {
            first.send(token + 1).expect("the ring is unbroken");
            token = inbox.recv().await.expect("the ring is unbroken");
        }
        token
    })
}

fn on_smol(laps: usize) -> usize {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let (first, mut inbox) = smol::channel::unbounded();
        for _ in 1..RING {
            let (outbox, next) = smol::channel::unbounded();
            let pass = async move {
                while let Ok(token) = inbox.recv().await {
                    let _ = outbox.send(token + 1).await;
                }
            };
            executor.spawn(pass).detach();
            inbox = next;
        }
        let mut token = 0;
        for _ in 0..laps {
            first.send(token + 1).await.expect("the ring is unbroken");
            token = inbox.recv().await.expect("the ring is unbroken");
        }
        token
    }))
}

fn on_async_std(laps: usize) -> usize {
    use async_std::channel::unbounded;
    async_std::task::block_on(async {
        let (first, mut inbox) = unbounded();
        for _ in 1..RING {
            let (outbox, next) = unbounded();
            async_std::task::spawn_local(async move {
                while let Ok(token) = inbox.recv().await {
                    let _ = outbox.send(token + 1).await;
                }
            });
            inbox = next;
        }
        let mut token = 0;
        for _ in 0..laps {
            first.send(token + 1).await.expect("the ring is unbroken");
            token = inbox.recv().await.expect("the ring is unbroken");
        }
        token
    })
}
