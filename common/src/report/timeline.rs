//! Spans, drawn as rows of text: a timeline for each task, and a ladder of what ended when.

use std::collections::HashMap;

use serde::Serialize;

use crate::report::screen;
use crate::span::{Kind, Span, threads};

const ROWS: usize = 8;

/// The columns beside a row: the task on the left, its thread on the right.
const BESIDE: usize = 24;

/// The spans as rows of text, one line per task, then the legend. If tasks take turns too fast for
/// the picture, it shows only the beginning.
pub fn draw(spans: &[Span]) -> Vec<String> {
    draw_in(screen::columns() - BESIDE, spans)
}

fn draw_in(columns: usize, spans: &[Span]) -> Vec<String> {
    let Some(from) = spans.iter().map(|s| s.from_us).min() else {
        return Vec::new();
    };
    let end = spans.iter().map(|s| s.to_us).max().unwrap_or(from);
    let to = end.min(from + window(columns, spans));
    let scale = (to - from).max(1) as f64 / columns as f64;
    let mut tasks: Vec<usize> = spans.iter().map(|s| s.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let lanes = lanes(spans);
    let mut lines = Vec::new();
    if to < end {
        let (shown, all) = ((to - from) as f64 / 1e3, (end - from) as f64 / 1e3);
        lines.push(format!("        the first {shown:.0} of {all:.0} ms"));
    }
    for &task in tasks.iter().take(ROWS) {
        let own: Vec<&Span> = spans.iter().filter(|s| s.task == task).collect();
        let row: String = (0..columns)
            .map(|column| {
                let start = from as f64 + column as f64 * scale;
                cell(&own, start, start + scale)
            })
            .collect();
        let lane = lane(&own, &lanes);
        lines.push(format!("  {task:>4}  ╶{row}╴  {lane}").trim_end().to_string());
    }
    if tasks.len() > ROWS {
        lines.push(format!("        … and {} tasks more", tasks.len() - ROWS));
    }
    lines.push(axis(columns, to - from));
    lines.push(legend(spans, threads(spans)));
    lines
}

/// What the first and the last column stand for.
fn axis(columns: usize, length_us: u64) -> String {
    let end = format!("{:.0} ms", length_us as f64 / 1e3);
    format!("        0{end:>columns$}")
}

/// How much time the picture can show if a turn is about two columns wide, in microseconds.
fn window(columns: usize, spans: &[Span]) -> u64 {
    let ran = spans.iter().filter(|s| s.kind == Kind::Running);
    let mut turns: Vec<u64> = ran.map(|s| s.to_us - s.from_us).collect();
    if turns.len() < columns || spans.iter().any(|s| s.kind == Kind::Waiting) {
        return u64::MAX / 2;
    }
    turns.sort_unstable();
    turns[turns.len() / 2].max(1) * columns as u64 / 2
}

/// One column of one task's row.
fn cell(spans: &[&Span], from: f64, to: f64) -> char {
    let share = |kind: Kind| -> f64 {
        let of_kind = spans.iter().filter(|s| s.kind == kind);
        let inside = |s: &&Span| (s.to_us as f64).min(to) - (s.from_us as f64).max(from);
        of_kind.map(|s| inside(s).max(0.0)).sum::<f64>() / (to - from)
    };
    let (waiting, running) = (share(Kind::Waiting), share(Kind::Running));
    // An answer takes microseconds. It is still shown, in the column in which it came.
    let mut ran = spans.iter().filter(|s| s.kind == Kind::Running);
    let waits = spans.iter().any(|s| s.kind == Kind::Waiting);
    if waits && ran.any(|s| s.to_us as f64 >= from && (s.from_us as f64) < to) {
        return '█';
    }
    match running {
        _ if waiting > 0.0 => '─',
        r if r > 0.75 => '█',
        r if r > 0.5 => '▓',
        r if r > 0.25 => '▒',
        r if r > 0.0 => '░',
        _ => ' ',
    }
}

fn legend(spans: &[Span], threads: usize) -> String {
    let waits = spans.iter().any(|s| s.kind == Kind::Waiting);
    let signs = if waits {
        "─ waiting  █ running"
    } else {
        "█ ▓ ▒ ░ running, from always to now and then"
    };
    let place = if threads == 1 { "all on one thread" } else { "" };
    format!("        {signs:<54} {place}").trim_end().to_string()
}

/// A row of a [`ladder`]: something with a beginning, an end and a result.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub name: String,
    pub from_us: u64,
    pub to_us: u64,
    /// Drawn at its end.
    pub sign: char,
}

/// Rows of text in the order given. Each shows a wait, and then its sign. A line is drawn through
/// all of them at `mark`.
pub fn ladder(steps: &[Step], mark: Option<u64>) -> Vec<String> {
    ladder_in(screen::columns() - BESIDE, steps, mark)
}

fn ladder_in(columns: usize, steps: &[Step], mark: Option<u64>) -> Vec<String> {
    const STEPS: usize = 12;
    let Some(from) = steps.iter().map(|s| s.from_us).min() else {
        return Vec::new();
    };
    let ends = steps.iter().map(|s| s.to_us).chain(mark);
    let scale = (ends.max().unwrap_or(from) - from).max(1) as f64 / (columns - 1) as f64;
    let column = |at: u64| (at.saturating_sub(from) as f64 / scale).round() as usize;
    let mut lines = Vec::new();
    for step in steps.iter().take(STEPS) {
        let (begin, end) = (column(step.from_us), column(step.to_us));
        let sign = |at: usize| match at {
            _ if at == end => step.sign,
            _ if Some(at) == mark.map(column) => '│',
            _ if (begin..end).contains(&at) => '─',
            _ => ' ',
        };
        let row: String = (0..columns).map(sign).collect();
        let seconds = (step.to_us - from) as f64 / 1e6;
        lines.push(format!("  {:<13} {row} {seconds:.3}", step.name));
    }
    if steps.len() > STEPS {
        lines.push(format!("                … and {} more", steps.len() - STEPS));
    }
    lines
}

/// Where a task ran: the name of its thread, or how many there were.
fn lane(spans: &[&Span], lanes: &HashMap<(i32, i32), String>) -> String {
    let mut places: Vec<_> = spans.iter().map(|s| (s.pid, s.thread)).collect();
    places.sort_unstable();
    places.dedup();
    match places[..] {
        [place] => lanes[&place].clone(),
        _ => format!("{} threads", places.len()),
    }
}

/// A short name for each thread, in the order in which they appear.
fn lanes(spans: &[Span]) -> HashMap<(i32, i32), String> {
    let mut order: Vec<&Span> = spans.iter().collect();
    order.sort_by_key(|s| (s.task, s.from_us));
    let processes = order.iter().any(|s| s.pid != order[0].pid);
    let mut names = HashMap::new();
    for span in order {
        let number = names.len() + 1;
        let name = if processes { "process" } else { "thread" };
        names.entry((span.pid, span.thread)).or_insert_with(|| format!("{name} {number}"));
    }
    if names.len() == 1 {
        names.values_mut().for_each(String::clear);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: usize = 56;

    fn span(task: usize, kind: Kind, from_us: u64, to_us: u64, thread: i32) -> Span {
        Span { task, kind, from_us, to_us, pid: 1, thread, file: None, line: None }
    }

    #[test]
    fn a_row_shows_the_wait_and_the_answer() {
        let spans = [
            span(0, Kind::Waiting, 0, 500, 10),
            span(0, Kind::Running, 500, 501, 10),
            span(1, Kind::Waiting, 0, 1000, 11),
        ];
        let rows = draw_in(COLUMNS, &spans);
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[2].trim_end(), format!("        0{:>56}", "1 ms"));
        assert_eq!(rows[0].matches('█').count(), 1, "{}", rows[0]);
        assert_eq!(rows[0].matches('─').count(), COLUMNS / 2, "{}", rows[0]);
        assert!(rows[0].ends_with("thread 1") && rows[1].ends_with("thread 2"));
        assert!(rows.iter().all(|row| row.chars().count() <= 80));
    }

    #[test]
    fn a_task_that_moved_is_not_named_after_the_thread_it_ended_in() {
        let moved = [span(0, Kind::Running, 0, 500, 10), span(0, Kind::Running, 500, 1000, 11)];
        let rows = draw_in(COLUMNS, &[&moved[..], &[span(1, Kind::Running, 0, 900, 11)]].concat());
        assert!(rows[0].ends_with("2 threads") && rows[1].ends_with("thread 2"), "{rows:?}");
    }

    #[test]
    fn turns_too_fast_for_the_picture_are_shown_from_the_beginning() {
        let turns =
            (0..1000).map(|n| span(n % 4, Kind::Running, n as u64 * 10, n as u64 * 10 + 10, 1));
        let rows = draw_in(COLUMNS, &turns.collect::<Vec<_>>());
        assert_eq!(rows[0].trim(), "the first 0 of 10 ms");
        for row in &rows[1..5] {
            assert_eq!(row.matches('█').count(), COLUMNS / 4, "{row}");
        }
        assert!(rows[6].ends_with("all on one thread"));
    }

    #[test]
    fn a_ladder_shows_what_ended_when() {
        let step = |from_us, to_us| Step { name: "/page/0".into(), from_us, to_us, sign: '●' };
        let rows = ladder_in(COLUMNS, &[step(0, 110), step(110, 220)], Some(220));
        assert_eq!(rows[0].matches('─').count(), COLUMNS / 2, "{}", rows[0]);
        assert!(rows[0].contains('│') && rows[0].contains('●'), "{}", rows[0]);
        assert!(rows[1].contains("●") && !rows[1].contains('│'), "{}", rows[1]);
        assert!(rows.iter().all(|row| row.chars().count() <= 80));
        assert!(ladder_in(COLUMNS, &vec![step(0, 1); 20], None).last().unwrap().contains("8 more"));
    }
}
