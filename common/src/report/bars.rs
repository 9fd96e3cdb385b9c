//! A comparison of times as bars.

use crate::report::screen;

/// A row of a comparison.
pub struct Bar {
    name: String,
    seconds: f64,
    note: String,
}

impl Bar {
    pub fn new(name: &str, seconds: f64, note: &str) -> Bar {
        Bar { name: name.to_string(), seconds, note: note.to_string() }
    }
}

/// A comparison of times, drawn to one scale.
pub fn bars(rows: &[Bar]) -> Vec<String> {
    bars_in(screen::columns(), rows)
}

fn bars_in(columns: usize, rows: &[Bar]) -> Vec<String> {
    let width = (columns - 40).clamp(8, 40) * 3 / 5;
    let longest = rows.iter().map(|r| r.seconds).fold(f64::MIN_POSITIVE, f64::max);
    let line = |row: &Bar| {
        let eighths = (row.seconds / longest * width as f64 * 8.0).round() as usize;
        let mut bar = "█".repeat(eighths / 8);
        bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
        let Bar { name, seconds, note } = row;
        let digits = if *seconds < 1000.0 { 3 } else { 1 };
        format!("  {name:<13} {seconds:>7.digits$} s  {bar:<width$}  {note}").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_to_scale_and_fit() {
        let rows = bars_in(
            80,
            &[
                Bar::new("threads", 0.05, "1 run, release, 2 cores"),
                Bar::new("one by one", 1.0, ""),
                Bar::new("a long time", 9999.0, "12345.6 × as long, computed"),
            ],
        );
        assert_eq!(rows[2].matches('█').count(), 24);
        assert_eq!(rows[0].matches('█').count(), 0);
        assert!(rows.iter().all(|row| row.chars().count() <= 80), "{rows:?}");
    }
}
