//! Spans in Chrome's trace format, which ui.perfetto.dev opens.

use serde_json::{Value, json};

use crate::span::Span;

/// The spans of named parts in Chrome's trace format, which Perfetto opens: complete events (`ph:
/// X`), one lane per task, so that no two events of a lane overlap.
pub fn chrome_trace(parts: &[(String, Vec<Span>)]) -> Value {
    let all = parts.iter().flat_map(|(_, spans)| spans);
    let start = all.map(|s| s.from_us).min().unwrap_or(0);
    let mut events = Vec::new();
    for (part, (name, spans)) in parts.iter().enumerate() {
        let part = part + 1;
        events.push(json!({"ph": "M", "name": "process_name", "pid": part, "tid": 0,
            "args": {"name": name}}));
        let mut tasks: Vec<usize> = spans.iter().map(|s| s.task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        for task in tasks {
            events.push(json!({"ph": "M", "name": "thread_name", "pid": part, "tid": task + 1,
                "args": {"name": format!("task {task}")}}));
        }
        for span in spans {
            events.push(json!({"ph": "X", "name": span.kind, "cat": name,
                "pid": part, "tid": span.task + 1,
                "ts": span.from_us - start, "dur": span.to_us - span.from_us,
                "args": {"pid": span.pid, "thread": span.thread}}));
        }
    }
    json!({"traceEvents": events, "displayTimeUnit": "ms"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Kind;

    fn span(task: usize, kind: Kind, from_us: u64, to_us: u64, thread: i32) -> Span {
        Span { task, kind, from_us, to_us, pid: 1, thread, file: None, line: None }
    }

    #[test]
    fn a_trace_has_one_lane_per_task_without_overlap() {
        let spans = vec![span(3, Kind::Waiting, 5, 9, 1), span(3, Kind::Running, 9, 12, 1)];
        let trace = chrome_trace(&[("io-bound".into(), spans)]);
        let events = trace["traceEvents"].as_array().unwrap();
        let complete: Vec<_> = events.iter().filter(|e| e["ph"] == "X").collect();
        assert_eq!((complete[0]["ts"].as_u64(), complete[0]["dur"].as_u64()), (Some(0), Some(4)));
        assert_eq!((complete[1]["ts"].as_u64(), complete[1]["tid"].as_u64()), (Some(4), Some(4)));
    }
}
