//! deadlock: two locks taken in two orders, seen by a watchdog, cured by one order; poisoning.
//! A thread that waits for a lock waits for ever if its holder waits for it.
//! Run it: cargo run -p threads -- deadlock

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use common::registry::Flags;
use common::report::section::Section;
use serde_json::json;

/// What a thread tells the watchdog around each lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Wants(&'static str),
    Holds(&'static str),
    Done,
}

type Said = (&'static str, Says);

/// Two accounts, each with a lock of its own.
struct Accounts {
    left: Mutex<i64>,
    right: Mutex<i64>,
}

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    section.answer.push("two orders:".into());
    let table = watch(&careless());
    section.answer.extend(table.iter().map(|row| format!("  {row}")));
    section.answer.push("one order:".into());
    let (log, total) = careful();
    let table = watch(&log);
    section.answer.extend(table.iter().map(|row| format!("  {row}")));
    section.answer.push(format!("  both done, total {total}"));
    section.answer.push("a holder that panics:".into());
    section.answer.push(format!("  {}", poisoned()));
    section.measure("left_behind", json!(2));
    section.shown = vec![
        "  The two threads of the first act wait still: nobody can call them off.".into(),
        "  Nothing was timed: a cycle of who waits for whom is proof enough.".into(),
    ];
    section
}

/// Each thread takes its first lock, then the one that the other has: they wait for ever.
fn careless() -> Receiver<Said> {
    let (log, said) = channel();
    let accounts = Arc::new(Accounts { left: Mutex::new(100), right: Mutex::new(100) });
    let both_hold_one = Arc::new(Barrier::new(2));
    for (name, first, second) in [("anna", "left", "right"), ("bert", "right", "left")] {
        let (log, accounts) = (log.clone(), Arc::clone(&accounts));
        let both_hold_one = Arc::clone(&both_hold_one);
        // Never joined, which is the point: `join` would wait for ever as well.
        thread::spawn(move || {
            let meet = || _ = both_hold_one.wait();
            transfer(name, &accounts, (first, second), &log, meet);
        });
    }
    said
}

/// Both threads take the locks in the same order: whoever has the first gets the second.
fn careful() -> (Receiver<Said>, i64) {
    let (log, said) = channel();
    let accounts = Accounts { left: Mutex::new(100), right: Mutex::new(100) };
    thread::scope(|scope| {
        for name in ["anna", "bert"] {
            let (log, accounts) = (log.clone(), &accounts);
            scope.spawn(move || transfer(name, accounts, ("left", "right"), &log, || {}));
        }
    });
    let total = *accounts.left.lock().expect("nobody panicked")
        + *accounts.right.lock().expect("nobody panicked");
    (said, total)
}

fn transfer(
    name: &'static str,
    accounts: &Accounts,
    (first, second): (&'static str, &'static str),
    log: &Sender<Said>,
    meet: impl FnOnce(),
) {
    // The watchdog may be gone already; whoever transfers does not care.
    let say = |says| _ = log.send((name, says));
    let account = |side| if side == "left" { &accounts.left } else { &accounts.right };
    say(Says::Wants(first));
    let mut from = account(first).lock().expect("nobody panics");
    say(Says::Holds(first));
    meet();
    say(Says::Wants(second));
    let mut to = account(second).lock().expect("nobody panics");
    say(Says::Holds(second));
    *from -= 10;
    *to += 10;
    say(Says::Done);
}

/// The watchdog: keeps a table of who holds and who wants what, until all are done or it sees
/// that each of two waits for the other. Says which it was.
fn watch(said: &Receiver<Said>) -> Vec<String> {
    let mut held: Vec<(&str, &str)> = Vec::new();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (name, says) in said {
        match says {
            Says::Wants(lock) => wanted.push((name, lock)),
            Says::Holds(lock) => {
                wanted.retain(|&(who, _)| who != name);
                held.retain(|&(_, what)| what != lock); // its last holder has let it go
                held.push((name, lock));
            }
            Says::Done => held.retain(|&(who, _)| who != name),
        }
        let holder = |lock| held.iter().find(|&&(_, what)| what == lock).map(|&(who, _)| who);
        let mut rows = Vec::new();
        for &(who, lock) in &wanted {
            let next = holder(lock).and_then(|other| wanted.iter().find(|&&(w, _)| w == other));
            if let Some(&(other, back)) = next
                && holder(back) == Some(who)
            {
                rows.push(format!("{who} holds {back}, wants {lock}, which {other} holds"));
            }
        }
        if !rows.is_empty() {
            rows.sort();
            rows.push("a deadlock: each waits for the other".into());
            return rows;
        }
    }
    vec!["nobody waits for somebody who waits for him".into()]
}

/// What a panic inside leaves behind: a lock that says so, and lets one in all the same.
fn poisoned() -> String {
    let account = Arc::new(Mutex::new(100));
    let holder = Arc::clone(&account);
    let task = thread::spawn(move || {
        let mut money = holder.lock().expect("this is the first");
        *money -= 10;
        // As `panic!`, but without the message on stderr.
        resume_unwind(Box::new("while it paid"));
    });
    let why = task.join().expect_err("it panicked");
    let why = why.downcast_ref::<&str>().copied().unwrap_or_default();
    match account.lock() {
        Ok(_) => "the lock does not know".into(),
        Err(poison) => {
            let mut money = poison.into_inner();
            let left = *money;
            *money = 100;
            format!("panicked {why}: the lock is poisoned, {left} in it; repaired: {money}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_orders_deadlock_every_time() {
        for _ in 0..20 {
            let rows = watch(&careless());
            assert_eq!(rows.len(), 3, "{rows:?}");
            assert!(rows[0].starts_with("anna holds left, wants right"), "{rows:?}");
            assert!(rows[1].starts_with("bert holds right, wants left"), "{rows:?}");
        }
    }

    #[test]
    fn one_order_never_does() {
        for _ in 0..200 {
            let (log, total) = careful();
            assert_eq!(total, 200);
            assert_eq!(watch(&log).len(), 1);
        }
    }

    #[test]
    fn a_poisoned_lock_says_so() {
        assert!(poisoned().contains("poisoned, 90 in it; repaired: 100"));
    }
}
