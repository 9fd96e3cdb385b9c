//! How many tasks wait on which line at any time of a run, from the run's own spans.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::picture::extent;
use crate::source::Source;

/// At most so many steps of the time cursor.
const STEPS: u64 = 200;

/// The time cursor's step for a workload, in microseconds: a round number, for its longest run.
pub fn step(longest_us: u64) -> u64 {
    let mut step = 1;
    loop {
        for factor in [1, 2, 5] {
            if longest_us <= step * factor * STEPS {
                return step * factor;
            }
        }
        step *= 10;
    }
}

/// For each step of the cursor: lines, counted from 1, each with the number of tasks that wait
/// there. If a task waits in another file, the line that calls it is named, and the file.
pub fn of(section: &Value, source: &Source, step: u64) -> Value {
    let Some((from, length)) = extent(section) else { return Value::Null };
    let spans = section["spans"].as_array().map_or(&[][..], Vec::as_slice);
    let mut counts: Vec<BTreeMap<usize, usize>> =
        vec![BTreeMap::new(); (length / step + 1) as usize];
    let mut elsewhere = None;
    let path = source.path.to_string_lossy();
    for span in spans.iter().filter(|span| span["kind"] == "waiting") {
        let (Some(file), Some(line)) = (span["file"].as_str(), span["line"].as_u64()) else {
            continue;
        };
        let line = if file == path {
            source.wait_after(line as usize - 1)
        } else {
            elsewhere = Some(file.to_string());
            source.calls_fetch()
        };
        let Some(line) = line else { continue };
        let time = |name: &str| span[name].as_u64().unwrap_or(from) - from;
        let (begin, end) = (time("from_us").div_ceil(step), time("to_us").div_ceil(step));
        for count in &mut counts[begin as usize..(end as usize).min((length / step + 1) as usize)] {
            *count.entry(line + 1).or_default() += 1;
        }
    }
    if counts.iter().all(BTreeMap::is_empty) {
        return Value::Null;
    }
    let mut tasks: Vec<&Value> = spans.iter().map(|span| &span["task"]).collect();
    tasks.sort_by_key(|task| task.as_u64());
    tasks.dedup();
    let flat = |count: &BTreeMap<usize, usize>| -> Vec<usize> {
        count.iter().flat_map(|(line, n)| [*line, *n]).collect()
    };
    let at: Vec<Vec<usize>> = counts.iter().map(flat).collect();
    json!({"at": at, "of": tasks.len(), "elsewhere": elsewhere})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waits::Finder;

    #[test]
    fn the_cursor_moves_in_round_steps() {
        assert_eq!((step(55_000), step(200_000), step(1_000_001)), (500, 1000, 10_000));
        assert_eq!(step(0), 1);
    }

    #[test]
    fn tasks_are_counted_on_the_call_they_wait_in() {
        let text = "fn exchange() {\n    while get.wants_more() {\n        f();\n        \
            let n = socket.read(&mut buf)?;\n    }\n}\n";
        let finder = Finder::of("threads");
        let source = Source::new("a.rs".into(), text, finder.as_ref());
        let span = |task, from, to| {
            json!({"task": task, "kind": "waiting", "from_us": from,
            "to_us": to, "file": "a.rs", "line": 2})
        };
        let section = json!({"spans": [span(0, 100, 130), span(1, 100, 150)]});
        let counts = of(&section, &source, 10);
        assert_eq!(counts["of"], 2);
        assert_eq!(counts["at"][0], json!([4, 2]));
        assert_eq!(counts["at"][4], json!([4, 1]));
        assert_eq!(counts["at"][5], json!([]));
    }
}
