//! greenlets: which one runs when, by name; what a parent receives; a tree of them.
//! A greenlet runs only after a switch to it, and stops when it switches away.
//! Run it: cargo run -p coroutines -- greenlets

use std::cell::RefCell;
use std::rc::Rc;

use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use corosensei::Coroutine;
use serde_json::json;

use crate::asides::generators::nanoseconds;
use crate::coroutine::generators::Raised;
use crate::coroutine::greenlets::{Greenlet, GreenletExit, MAIN};

type Log = Rc<RefCell<Vec<String>>>;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    let acts = switching(&mut section)
        .and_then(|()| family(&mut section))
        .and_then(|()| compare(&mut section));
    section.wrong = acts.err().map(|raised| format!("a greenlet raised: {raised}"));
    section
}

/// K5, from the order in which they ran and from what the parents received.
pub fn switch_and_climb(section: &Section) -> Verdict {
    let seen = |name: &str| section.measured.get(name).and_then(|seen| seen.as_str()).unwrap_or("");
    let (order, heard) = (seen("order"), seen("heard"));
    let told = format!("they ran in the order {order}; the parents received: {heard}");
    let named = order == "ping pong ping pong main";
    if named && heard == "5 pages, no paper" { Verdict::Holds(told) } else { Verdict::Fails(told) }
}

/// The example of the greenlet documentation: two that switch to each other.
fn switching(section: &mut Section) -> Result<(), Raised> {
    let log = Log::default();
    let main = Greenlet::main();
    let (pings, pongs) = (log.clone(), log.clone());
    main.greenlet("ping", move |me, mut ball: u32| {
        loop {
            pings.borrow_mut().push(format!("{} {ball}", me.name()));
            ball = me.switch("pong", ball + 1)?;
        }
    })?;
    main.greenlet("pong", move |me, mut ball| {
        loop {
            pongs.borrow_mut().push(format!("{} {ball}", me.name()));
            let next = if ball < 4 { "ping" } else { MAIN };
            ball = me.switch(next, ball + 1)?;
        }
    })?;
    let ball = main.switch("ping", 1)?;
    log.borrow_mut().push(format!("{} {ball}", main.name()));
    let log = log.take();
    section.answer.push("  who has the ball:".into());
    section.answer.push(format!("    {}", log.join(" → ")));
    let order: Vec<&str> = log.iter().filter_map(|line| line.split(' ').next()).collect();
    section.measure("order", json!(order.join(" ")));
    Ok(())
}

/// Children that end in every possible way, and what their parents receive.
fn family(section: &mut Section) -> Result<(), Raised> {
    let heard = Log::default();
    let main = Greenlet::main();
    let inner = heard.clone();
    main.greenlet("editor", move |me, _: u32| {
        me.greenlet("author", |me, _| {
            me.switch("editor", 2)?; // a first draft; more when it is asked
            Ok(5)
        })?;
        me.greenlet("printer", |_, _| Err("no paper".into()))?;
        me.switch("author", 0)?;
        let pages = me.switch("author", 0)?;
        inner.borrow_mut().push(format!("{pages} pages"));
        if let Err(raised) = me.switch("printer", pages) {
            inner.borrow_mut().push(raised.to_string());
        }
        me.switch(MAIN, pages)
    })?;
    main.greenlet("reader", |me, _| me.switch(MAIN, 0))?;
    let pages = main.switch("editor", 0)?;
    main.switch("reader", pages)?;
    section.answer.push("  main, after a result and an error went to the editor:".into());
    draw(&main, MAIN, "    ", &mut section.answer);
    main.set_parent("reader", "editor")?;
    main.throw("reader", GreenletExit)?;
    section
        .answer
        .push("  the reader, now the editor's child, is killed; then the editor ends:".into());
    draw(&main, MAIN, "    ", &mut section.answer);
    let answer = main.switch("author", 7)?;
    section.answer.push(format!("  a value for a dead greenlet goes to its ancestor: {answer}"));
    section.measure("heard", json!(heard.borrow().join(", ")));
    Ok(())
}

/// The tree below a greenlet.
fn draw(main: &Greenlet<u32>, parent: &str, indent: &str, lines: &mut Vec<String>) {
    const NAMES: [&str; 4] = ["editor", "author", "printer", "reader"];
    let children = NAMES.into_iter().filter(|name| main.parent(name) == Some(parent));
    let mut children = children.peekable();
    while let Some(name) = children.next() {
        let last = children.peek().is_none();
        let (branch, below) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        let state = if main.dead(name) { "dead" } else { "suspended" };
        lines.push(format!("{:<20}{state}", format!("{indent}{branch} {name}")));
        draw(main, name, &format!("{indent}{below} "), lines);
    }
}

fn compare(section: &mut Section) -> Result<(), Raised> {
    let mut bare: Coroutine<i64, i64, ()> = Coroutine::new(|yielder, mut value| {
        loop {
            value = yielder.suspend(value);
        }
    });
    let main = Greenlet::main();
    main.greenlet("echo", |me, mut value: i64| {
        loop {
            value = me.switch(MAIN, value)?;
        }
    })?;
    main.switch("echo", 0)?;
    let bare = nanoseconds(|| bare.resume(1));
    let ours = nanoseconds(|| main.switch("echo", 1));
    section.measure("bare_ns", json!(bare));
    section.measure("switch_ns", json!(ours));
    let factor = ours / bare;
    section.shown = vec![
        format!("  there and back: corosensei {bare:>5.1} ns"),
        format!("                  greenlets  {ours:>5.1} ns, {factor:.1} × as long"),
    ];
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_figures() {
        let (order, heard) = ("ping pong ping pong main", "5 pages, no paper");
        for (order, heard, word) in [
            (order, heard, "holds"),
            ("ping ping pong pong main", heard, "does not hold"),
            ("ping pong ping pong", heard, "does not hold"),
            (order, "5 pages", "does not hold"),
            (order, "no paper", "does not hold"),
        ] {
            let mut section = Section::default();
            section.measure("order", json!(order));
            section.measure("heard", json!(heard));
            let verdict = switch_and_climb(&section);
            assert_eq!(verdict.word(), word, "{verdict:?}");
        }
        assert!(matches!(switch_and_climb(&Section::default()), Verdict::Fails(_)));
    }

    #[test]
    fn the_acts_show_what_they_should() -> Result<(), Raised> {
        let mut section = Section::default();
        switching(&mut section)?;
        family(&mut section)?;
        assert!(matches!(switch_and_climb(&section), Verdict::Holds(_)));
        let dead = section.answer.iter().filter(|line| line.ends_with(" dead"));
        let dead = dead.filter_map(|line| line.split_whitespace().rev().nth(1));
        let all = ["author", "printer", "editor", "author", "printer", "reader"];
        assert_eq!(dead.collect::<Vec<_>>(), all);
        Ok(())
    }
}
