//! The spans of a run, made small enough for a page: spans narrower than a column are merged.

use serde_json::{Value, json};

/// Columns of a timeline.
const COLUMNS: usize = 400;
/// Tasks of a timeline. If there are more, only every n-th is shown.
const ROWS: usize = 48;

/// When the picture of the run begins, in microseconds of its clock, and how long it is.
pub fn extent(section: &Value) -> Option<(u64, u64)> {
    let none = Vec::new();
    let spans = section["spans"].as_array().unwrap_or(&none);
    let steps = section["picture"]["steps"].as_array().unwrap_or(&none);
    let times = |name: &'static str| {
        let all = spans.iter().chain(steps);
        all.filter_map(move |span| span[name].as_u64())
    };
    let from = times("from_us").min()?;
    let to = times("to_us").max()?.max(section["picture"]["mark_us"].as_u64().unwrap_or(0));
    Some((from, (to - from).max(1)))
}

/// What the page draws: the program's own picture, with its times from 0 on; a timeline as rows of
/// `kind, column, width`.
pub fn of(section: &Value) -> Value {
    let mut picture = section["picture"].clone();
    let Some((from, length)) = extent(section) else { return picture };
    if picture["kind"] == "timeline" {
        let spans = section["spans"].as_array().map_or(&[][..], Vec::as_slice);
        let (rows, of) = rows(spans, from, length);
        picture["rows"] = json!(rows);
        picture["tasks"] = json!(of);
        picture["columns"] = json!(COLUMNS);
    }
    for step in picture["steps"].as_array_mut().into_iter().flatten() {
        for name in ["from_us", "to_us"] {
            step[name] = json!(step[name].as_u64().unwrap_or(from) - from);
        }
    }
    if let Some(mark) = picture["mark_us"].as_u64() {
        picture["mark_us"] = json!(mark - from);
    }
    picture["length_us"] = json!(length);
    picture
}

/// A row for each task shown: its number, then kind, first column and width of each span.
fn rows(spans: &[Value], from: u64, length: u64) -> (Vec<(u64, Vec<usize>)>, usize) {
    let mut tasks: Vec<u64> = spans.iter().filter_map(|span| span["task"].as_u64()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let every = tasks.len().div_ceil(ROWS).max(1);
    let shown: Vec<u64> = tasks.iter().copied().step_by(every).collect();
    let mut painted = vec![[0_u8; COLUMNS]; shown.len()];
    for span in spans {
        let task = span["task"].as_u64().unwrap_or(0);
        let Ok(row) = shown.binary_search(&task) else { continue };
        let column = |name: &str| {
            let time = span[name].as_u64().unwrap_or(from) - from;
            (time as usize * COLUMNS / length as usize).min(COLUMNS - 1)
        };
        // Running is shown even if it is very short; waiting only if nothing else is there.
        let kind = match span["kind"].as_str() {
            Some("running") => 3,
            Some("preempted") => 2,
            _ => 1,
        };
        for cell in &mut painted[row][column("from_us")..=column("to_us")] {
            *cell = kind.max(*cell);
        }
    }
    let row = |(task, cells): (u64, [u8; COLUMNS])| (task, runs(&cells));
    (shown.into_iter().zip(painted).map(row).collect(), tasks.len())
}

/// Cells of the same kind as kind, first, width. Empty ones are left out.
fn runs(cells: &[u8]) -> Vec<usize> {
    let mut all = Vec::new();
    let mut at = 0;
    for group in cells.chunk_by(|a, b| a == b) {
        if group[0] > 0 {
            all.extend([usize::from(group[0]), at, group.len()]);
        }
        at += group.len();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(task: u64, kind: &str, from: u64, to: u64) -> Value {
        json!({"task": task, "kind": kind, "from_us": from, "to_us": to})
    }

    #[test]
    fn an_answer_of_microseconds_is_seen() {
        let spans = [span(0, "waiting", 1000, 900_000), span(0, "running", 900_000, 900_001)];
        let section = json!({"spans": spans, "picture": {"kind": "timeline"}});
        let drawn = of(&section);
        let row = drawn["rows"][0][1].as_array().expect("a row");
        assert_eq!(row.len(), 6);
        assert_eq!((&row[0], &row[3]), (&json!(1), &json!(3)));
        assert_eq!(drawn["length_us"], 899_001);
    }

    #[test]
    fn of_a_thousand_tasks_some_are_shown() {
        let spans: Vec<Value> = (0..1000).map(|task| span(task, "waiting", 0, 10)).collect();
        let drawn = of(&json!({"spans": spans, "picture": {"kind": "timeline"}}));
        let shown = drawn["rows"].as_array().expect("rows").len();
        assert!(shown <= ROWS && shown > ROWS / 2 && drawn["tasks"] == 1000);
    }
}
