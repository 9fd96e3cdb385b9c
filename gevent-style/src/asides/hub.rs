//! hub: the loop under the greenlets, and what gevent builds on it.
//! A greenlet that waits tells the hub what it waits for; the hub wakes it when that has happened.
//! Run it: cargo run -p gevent-style -- hub

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use serde_json::json;

use crate::gevent::event::{AsyncResult, Event};
use crate::gevent::greenlet::{self, Greenlet, iwait, joinall, spawn};
use crate::gevent::hub::{Counters, counters};
use crate::gevent::pool::{Group, Pool};
use crate::gevent::queue::Queue;
use crate::gevent::timeout::{self, GreenletExit, with_timeout};

/// Greenlets that wait for a time, and the same number that wait for a descriptor.
const MANY: usize = 400;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = greenlet::run(|| show(&mut section)) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn show(section: &mut Section) -> io::Result<()> {
    section.answer.push("three greenlets and the hub:".into());
    section.answer.extend(three_waits()?.into_iter().map(|line| format!("  {line}")));
    section.answer.push("what gevent builds on it:".into());
    let mut row = |name: &str, shows: String| {
        section.answer.push(format!("  {name:<14}{shows}"));
    };
    row("spawn, join", format!("{:?}", results()));
    row("iwait", format!("in the order they finish: {:?}", as_they_finish()));
    row("Event", format!("one set() woke {}", woken_by_one_set()));
    row("AsyncResult", format!("{:?} got the value", who_got_the_value()));
    let (most, items) = through_a_queue();
    row("Queue", format!("{items:?}, never more than {most} in it"));
    row("Pool", format!("9 jobs, at most {} at once", most_at_once_in_a_pool()));
    row("Group.kill", format!("{} of 3 ended by it", killed_in_a_group()));
    row("kill", format!("the read in it failed: {}", killed_in_a_read()?));
    row("with_timeout", format!("the read in it failed: {}", read_cut_short()?));
    many(section)?;
    let (alone, hundred) = (nanoseconds_a_yield(1), nanoseconds_a_yield(100));
    section.shown.push(format!(
        "  sleep(0) costs {alone} ns with one greenlet, {hundred} ns among a hundred"
    ));
    section.measure("yield_ns", json!({"one": alone, "hundred": hundred}));
    Ok(())
}

/// Which greenlet waits for what, and when it is woken.
fn three_waits() -> io::Result<Vec<String>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let say = |log: &Mutex<Vec<String>>, line: &str| {
        log.lock().expect("no holder panics").push(line.to_string());
    };
    let (mut near, mut far) = UnixStream::pair()?;
    let ours = log.clone();
    let reader = spawn(move || {
        say(&ours, "reader   read: nothing there, to the hub with a descriptor");
        let n = near.read(&mut [0; 8])?;
        say(&ours, &format!("reader   the descriptor is ready: {n} bytes"));
        io::Result::Ok(())
    });
    let ours = log.clone();
    let sleeper = spawn(move || {
        say(&ours, "sleeper  sleep: to the hub with a time");
        thread::sleep(Duration::from_millis(10));
        say(&ours, "sleeper  the time has come: writes");
        far.write_all(b"hello")
    });
    let ours = log.clone();
    let yielder = spawn(move || {
        say(&ours, "yielder  yield_now: to the hub with nothing");
        thread::yield_now();
        say(&ours, "yielder  its turn again");
    });
    joinall(&[yielder], None);
    for task in [reader, sleeper] {
        task.join().map_err(|_| io::Error::other("a greenlet panicked"))??;
    }
    let lines = log.lock().expect("no holder panics");
    Ok(lines.clone())
}

fn results() -> Vec<usize> {
    let tasks = [1, 2, 3].map(|n| spawn(move || n));
    tasks.into_iter().flat_map(Greenlet::join).collect()
}

fn as_they_finish() -> Vec<u64> {
    let nap = |n| {
        thread::sleep(Duration::from_millis(5 * n));
        n
    };
    let tasks = [3, 1, 2].map(|n| spawn(move || nap(n)));
    iwait(tasks.into()).flat_map(Greenlet::join).collect()
}

fn woken_by_one_set() -> usize {
    let event = Event::new();
    let tasks = [(); 3].map(|()| {
        let event = event.clone();
        spawn(move || event.wait())
    });
    timeout::sleep(Duration::ZERO);
    event.set();
    tasks.into_iter().flat_map(Greenlet::join).count()
}

fn who_got_the_value() -> Vec<&'static str> {
    let result = AsyncResult::new();
    let tasks = ["anna", "bert"].map(|name| {
        let result = result.clone();
        spawn(move || (name, result.get()))
    });
    result.set(42);
    let got = tasks.into_iter().flat_map(Greenlet::join);
    got.filter_map(|(name, value)| (value == 42).then_some(name)).collect()
}

fn through_a_queue() -> (usize, Vec<usize>) {
    let queue = Queue::bounded(2);
    let theirs = queue.clone();
    let producer = spawn(move || (1..=6).for_each(|item| theirs.put(item)));
    let mut most = 0;
    let mut take = || {
        timeout::sleep(Duration::ZERO);
        most = most.max(queue.len());
        queue.get()
    };
    let items = (1..=6).map(|_| take()).collect();
    joinall(&[producer], None);
    (most, items)
}

fn most_at_once_in_a_pool() -> usize {
    let pool = Pool::new(3);
    let seen = Arc::new(Mutex::new((0, 0)));
    let theirs = seen.clone();
    let job = move |_| {
        let change = |by: i64| {
            let (now, most) = &mut *theirs.lock().expect("no holder panics");
            *now += by;
            *most = i64::max(*most, *now);
        };
        change(1);
        timeout::sleep(Duration::from_millis(1));
        change(-1);
    };
    let done = pool.map(0..9, job).map_or(0, |results| results.len());
    let most = seen.lock().expect("no holder panics").1;
    if done == 9 { most as usize } else { 0 }
}

fn killed_in_a_group() -> usize {
    let group = Group::new();
    let tasks = [(); 3].map(|()| group.spawn(|| Event::new().wait()));
    timeout::sleep(Duration::ZERO);
    group.kill();
    tasks
        .into_iter()
        .filter_map(|task| task.join().err())
        .filter(|e| e.is::<GreenletExit>())
        .count()
}

fn killed_in_a_read() -> io::Result<String> {
    let (mut near, _far) = UnixStream::pair()?;
    let task = spawn(move || near.read(&mut [0]));
    timeout::sleep(Duration::ZERO);
    task.kill();
    Ok(what_it_said(task.join().unwrap_or(Ok(0))))
}

fn read_cut_short() -> io::Result<String> {
    let (mut near, _far) = UnixStream::pair()?;
    let mut said = String::new();
    let result = with_timeout(Duration::from_millis(5), || {
        said = what_it_said(near.read(&mut [0]));
    });
    Ok(if result.is_err() { said } else { "in time".into() })
}

fn what_it_said(result: io::Result<usize>) -> String {
    result.map_or_else(|error| error.to_string(), |n| format!("it did not: {n} bytes"))
}

/// Many waits of both kinds at once, all in one loop.
fn many(section: &mut Section) -> io::Result<()> {
    let before = counters();
    let mut tasks = Vec::new();
    let mut far_ends = Vec::new();
    for _ in 0..MANY {
        let (mut near, far) = UnixStream::pair()?;
        far_ends.push(far);
        tasks.push(spawn(move || near.read(&mut [0]).is_ok_and(|n| n == 1)));
        tasks.push(spawn(|| {
            thread::sleep(Duration::from_millis(20));
            true
        }));
    }
    tasks.push(spawn(move || far_ends.iter_mut().all(|far| far.write_all(b"!").is_ok())));
    let good = tasks.into_iter().flat_map(Greenlet::join).filter(|good| *good).count();
    if good != 2 * MANY + 1 {
        section.wrong = Some(format!("{good} of {} waits ended well", 2 * MANY + 1));
    }
    let Counters { turns, events, expired, .. } = counters();
    let (turns, events) = (turns - before.turns, events - before.events);
    let expired = expired - before.expired;
    section.shown.push(format!(
        "  {} greenlets wait at once: {events} for a descriptor, {expired} for a time;",
        2 * MANY
    ));
    section.shown.push(format!("  the hub woke them in {turns} turns of its loop, one epoll set"));
    section.measure("many", json!({"turns": turns, "events": events, "expired": expired}));
    Ok(())
}

fn nanoseconds_a_yield(greenlets: u32) -> u128 {
    const YIELDS: u32 = 20_000;
    let start = Instant::now();
    let spin = move || (0..YIELDS / greenlets).for_each(|_| thread::yield_now());
    let tasks: Vec<_> = (0..greenlets).map(|_| spawn(spin)).collect();
    joinall(&tasks, None);
    start.elapsed().as_nanos() / u128::from(YIELDS)
}

/// G4, from the counters of the hub: its loop ended every wait, many of them in one turn.
pub fn one_loop_underneath(section: &Section) -> Verdict {
    let seen =
        |what: &str| section.measured.get("many").and_then(|many| many[what].as_u64()).unwrap_or(0);
    let (turns, events, expired) = (seen("turns"), seen("events"), seen("expired"));
    let said = format!("{events} descriptors and {expired} times, in {turns} turns of one loop");
    let all = MANY as u64;
    if events == all && expired == all && (1..2 * all).contains(&turns) {
        Verdict::Holds(said)
    } else {
        Verdict::Fails(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gevent::monkey;

    #[test]
    fn verdicts_follow_the_figures() {
        let all = MANY as u64;
        for (turns, events, expired, word) in [
            (9, all, all, "holds"),
            (2 * all, all, all, "does not hold"),
            (0, all, all, "does not hold"),
            (9, all - 1, all, "does not hold"),
            (9, all, 0, "does not hold"),
        ] {
            let mut section = Section::default();
            section.measure("many", json!({"turns": turns, "events": events, "expired": expired}));
            let verdict = one_loop_underneath(&section);
            assert_eq!(verdict.word(), word, "{verdict:?}");
        }
    }

    #[test]
    fn every_line_of_the_page_is_as_it_should_be() {
        monkey::patch_all();
        let section = greenlet::run(|| {
            let mut section = Section::default();
            show(&mut section).unwrap();
            section
        });
        assert_eq!(section.wrong, None);
        let page = section.answer.join("\n");
        for line in [
            "  reader   the descriptor is ready: 5 bytes",
            "  spawn, join   [1, 2, 3]",
            "  iwait         in the order they finish: [1, 2, 3]",
            "  Event         one set() woke 3",
            "  AsyncResult   [\"anna\", \"bert\"] got the value",
            "  Queue         [1, 2, 3, 4, 5, 6], never more than 2 in it",
            "  Pool          9 jobs, at most 3 at once",
            "  Group.kill    3 of 3 ended by it",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
