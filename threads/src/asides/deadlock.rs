//! deadlock: two locks taken in two orders, seen by a watchdog, cured by one order; poisoning.
//! A thread waits forever for a lock if the holder of the lock waits for that thread.
//! Run it: cargo run -p threads -- deadlock

use std::io;
use std::iter;
use std::panic::resume_unwind;
use std::process;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use common::registry::Flags;
use common::report::section::Section;
use common::span::{Kind, Span, now};
use serde_json::json;

use super::limit::no_thread;

/// What a thread tells the watchdog around each lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Wants(&'static str),
    Holds(&'static str),
    Done,
}

/// The name and number of the thread that said it, and when, in microseconds of the monotonic
/// clock.
#[derive(Clone, Debug)]
struct Said {
    name: &'static str,
    says: Says,
    at_us: u64,
    thread: i32,
}

const NAMES: [&str; 2] = ["anna", "bert"];

/// Two accounts, each with a lock of its own.
struct Accounts {
    left: Mutex<i64>,
    right: Mutex<i64>,
}

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = show(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn show(section: &mut Section) -> io::Result<()> {
    section.answer.push("two orders:".into());
    let stuck = watch(&careless()?);
    section.answer.extend(stuck.table.iter().map(|row| format!("  {row}")));
    section.answer.push("one order:".into());
    let (log, total) = careful()?;
    let done = watch(&log);
    section.answer.extend(done.table.iter().map(|row| format!("  {row}")));
    section.answer.push(format!("  both done, total {total}"));
    section.answer.push("a holder that panics:".into());
    section.answer.push(format!("  {}", poisoned()?));
    section.measure("left_behind", json!(stuck.waiting()));
    if stuck.waiting() != 2 || done.waiting() != 0 {
        section.wrong = Some("only two orders deadlock".into());
    }
    section
        .shown
        .push("  two orders, each event in a column:   ? wants   + holds   ─ waits".into());
    section.shown.extend(stuck.picture());
    section.shown.push("  one order:".into());
    section.shown.extend(done.picture());
    section.shown.push(format!(
        "  The {} threads of the first part still wait: they cannot be cancelled.",
        stuck.waiting()
    ));
    section.shown.push("  Nothing was timed: a cycle of waiting threads is proof enough.".into());
    section.picture = json!({"kind": "timeline"});
    section.spans = [stuck.spans(0), done.spans(2)].concat();
    Ok(())
}

/// Each thread takes its first lock, then the one that the other has: they wait forever.
fn careless() -> io::Result<Receiver<Said>> {
    let (log, said) = channel();
    let accounts = Arc::new(Accounts { left: Mutex::new(100), right: Mutex::new(100) });
    let both_hold_one = Arc::new(Barrier::new(2));
    for (name, locks) in NAMES.into_iter().zip([("left", "right"), ("right", "left")]) {
        let (log, accounts) = (log.clone(), Arc::clone(&accounts));
        let both_hold_one = Arc::clone(&both_hold_one);
        // Never joined, on purpose: `join` would wait forever too.
        let task = thread::Builder::new().spawn(move || {
            let meet = || _ = both_hold_one.wait();
            transfer(name, &accounts, locks, &log, meet);
        });
        task.map_err(no_thread)?;
    }
    Ok(said)
}

/// Both threads take the locks in the same order: the one that has the first gets the second.
fn careful() -> io::Result<(Receiver<Said>, i64)> {
    let (log, said) = channel();
    let accounts = Accounts { left: Mutex::new(100), right: Mutex::new(100) };
    thread::scope(|scope| {
        for name in NAMES {
            let (log, accounts) = (log.clone(), &accounts);
            let task = thread::Builder::new().spawn_scoped(scope, move || {
                transfer(name, accounts, ("left", "right"), &log, || {});
            });
            task.map_err(no_thread)?;
        }
        io::Result::Ok(())
    })?;
    let total = *accounts.left.lock().expect("no holder panics")
        + *accounts.right.lock().expect("no holder panics");
    Ok((said, total))
}

fn transfer(
    name: &'static str,
    accounts: &Accounts,
    (first, second): (&'static str, &'static str),
    log: &Sender<Said>,
    meet: impl FnOnce(),
) {
    // An error means that the watchdog has ended. The transfer goes on.
    let thread = nix::unistd::gettid().as_raw();
    let say = |says| _ = log.send(Said { name, says, at_us: now(), thread });
    let account = |side| if side == "left" { &accounts.left } else { &accounts.right };
    say(Says::Wants(first));
    let mut from = account(first).lock().expect("no holder panics");
    say(Says::Holds(first));
    meet();
    say(Says::Wants(second));
    let mut to = account(second).lock().expect("no holder panics");
    say(Says::Holds(second));
    *from -= 10;
    *to += 10;
    say(Says::Done);
}

/// What the watchdog has seen: a row for each thread that waits forever, and all messages.
struct Watched {
    table: Vec<String>,
    log: Vec<Said>,
    /// When it stopped watching.
    end_us: u64,
}

/// The watchdog: keeps a table of which thread holds or wants which lock, until all are done or two
/// threads wait for each other. Returns which it was.
fn watch(said: &Receiver<Said>) -> Watched {
    let mut held: Vec<(&str, &str)> = Vec::new();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let mut log = Vec::new();
    for message in said {
        let name = message.name;
        match message.says {
            Says::Wants(lock) => wanted.push((name, lock)),
            Says::Holds(lock) => {
                wanted.retain(|&(who, _)| who != name);
                held.retain(|&(_, what)| what != lock); // its last holder has released it
                held.push((name, lock));
            }
            Says::Done => held.retain(|&(who, _)| who != name),
        }
        log.push(message);
        let holder = |lock| held.iter().find(|&&(_, what)| what == lock).map(|&(who, _)| who);
        let mut table = Vec::new();
        for &(who, lock) in &wanted {
            let next = holder(lock).and_then(|other| wanted.iter().find(|&&(w, _)| w == other));
            if let Some(&(other, back)) = next
                && holder(back) == Some(who)
            {
                table.push(format!("{who} holds {back}, wants {lock}, which {other} holds"));
            }
        }
        if !table.is_empty() {
            table.sort();
            table.push("a deadlock: each waits for the other".into());
            return Watched { table, log, end_us: now() };
        }
    }
    let table = vec!["no two threads wait for each other".into()];
    Watched { table, log, end_us: now() }
}

impl Watched {
    /// How many threads were still waiting for a lock at the end.
    fn waiting(&self) -> usize {
        let last = |name| self.log.iter().rev().find(|said| said.name == name);
        let waits = |said: &Said| matches!(said.says, Says::Wants(_));
        NAMES.into_iter().filter_map(last).filter(|said| waits(said)).count()
    }

    /// A row for each thread, a column for each event.
    fn picture(&self) -> Vec<String> {
        let mut rows = NAMES.map(|name| format!("  {name}  "));
        let mut waits = NAMES.map(|_| false);
        for said in &self.log {
            for (n, row) in rows.iter_mut().enumerate() {
                let own = NAMES[n] == said.name;
                let event = match said.says {
                    Says::Wants(lock) if own => format!("?{lock}"),
                    Says::Holds(lock) if own => format!("+{lock}"),
                    Says::Done if own => "done".into(),
                    _ => String::new(),
                };
                if own {
                    waits[n] = matches!(said.says, Says::Wants(_));
                }
                let fill = if waits[n] { '─' } else { ' ' };
                let width = 7 - event.chars().count();
                row.extend(event.chars().chain(iter::repeat_n(fill, width)));
            }
        }
        for (row, waits) in rows.iter_mut().zip(waits) {
            row.push_str(if waits { "──…" } else { "" });
        }
        rows.map(|row| row.trim_end().to_owned()).into()
    }

    /// When each thread waited for a lock, and when it ran; the first thread is task `first`.
    fn spans(&self, first: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        for (n, name) in NAMES.into_iter().enumerate() {
            let own: Vec<&Said> = self.log.iter().filter(|said| said.name == name).collect();
            for (n_said, said) in own.iter().enumerate() {
                let kind = match said.says {
                    Says::Wants(_) => Kind::Waiting,
                    Says::Holds(_) => Kind::Running,
                    Says::Done => break,
                };
                spans.push(Span {
                    task: first + n,
                    kind,
                    from_us: said.at_us,
                    to_us: own.get(n_said + 1).map_or(self.end_us, |next| next.at_us),
                    pid: process::id() as i32,
                    thread: said.thread,
                    file: None,
                    line: None,
                });
            }
        }
        spans
    }
}

/// What a panic of a holder leaves behind: a poisoned lock, which still gives access.
fn poisoned() -> io::Result<String> {
    let account = Arc::new(Mutex::new(100));
    let holder = Arc::clone(&account);
    let task = thread::Builder::new().spawn(move || -> () {
        let mut money = holder.lock().expect("this is the first");
        *money -= 10;
        // Like `panic!`, but without the message on stderr.
        resume_unwind(Box::new("while it paid"));
    });
    let why = task.map_err(no_thread)?.join().expect_err("it panicked");
    let why = why.downcast_ref::<&str>().copied().unwrap_or_default();
    Ok(match account.lock() {
        Ok(_) => "the lock does not know".into(),
        Err(poison) => {
            let mut money = poison.into_inner();
            let left = *money;
            *money = 100;
            format!("panicked {why}: the lock is poisoned, {left} in it; repaired: {money}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_orders_deadlock_every_time() {
        for _ in 0..20 {
            let watched = watch(&careless().unwrap());
            let table = &watched.table;
            assert_eq!(table.len(), 3, "{table:?}");
            assert!(table[0].starts_with("anna holds left, wants right"), "{table:?}");
            assert!(table[1].starts_with("bert holds right, wants left"), "{table:?}");
            assert_eq!(watched.waiting(), 2);
            let rows = watched.picture();
            assert!(rows[0].contains("+left") && rows[0].ends_with("──…"), "{rows:?}");
            assert!(rows[1].contains("+right") && rows[1].ends_with("──…"), "{rows:?}");
            // The waits that last to the end of the trace: both.
            let last = watched.spans(0);
            let stuck =
                last.iter().filter(|s| s.kind == Kind::Waiting && s.to_us == watched.end_us);
            assert_eq!(stuck.map(|s| s.task).collect::<Vec<_>>(), [0, 1]);
        }
    }

    #[test]
    fn one_order_never_does() {
        for _ in 0..200 {
            let (log, total) = careful().unwrap();
            assert_eq!(total, 200);
            let watched = watch(&log);
            assert_eq!((watched.table.len(), watched.waiting()), (1, 0));
            let rows = watched.picture();
            assert!(rows.iter().all(|row| row.contains("done") && row.chars().count() <= 80));
            assert_eq!(watched.spans(2).len(), 8);
        }
    }

    #[test]
    fn a_poisoned_lock_says_so() {
        assert!(poisoned().unwrap().contains("poisoned, 90 in it; repaired: 100"));
    }
}
