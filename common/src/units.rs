//! Times and sizes as people write them.

use std::time::Duration;

/// Reads a time such as `50ms` or `1.5s`.
///
/// # Errors
///
/// It is no time, or longer than a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "" => return Err("a time needs a unit: 50ms, 1.5s".into()),
        unit => return Err(format!("unknown unit {unit}; use us, ms, s")),
    };
    let number: f64 = number.parse().map_err(|_| "not a number; try 50ms or 1.5s")?;
    let seconds = number * scale;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("between 0s and one day".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A time as [`duration`] reads it, such as `50ms`.
pub fn time(time: Duration) -> String {
    if time.is_zero() { "0ms".into() } else { format!("{time:?}") }
}

/// A number of bytes, such as `12.5 KiB`.
pub fn bytes(n: f64) -> String {
    match n {
        n if n < 1024.0 => format!("{n:.0} B"),
        n if n < 1024.0 * 1024.0 => format!("{:.1} KiB", n / 1024.0),
        n => format!("{:.1} MiB", n / 1024.0 / 1024.0),
    }
}

/// A short time in seconds, such as `1.2 µs`.
pub fn seconds(s: f64) -> String {
    match s * 1e9 {
        ns if ns < 1000.0 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

/// A large number, such as `2 million`.
pub fn count(n: f64) -> String {
    match n {
        n if n < 1e4 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.0} thousand", n / 1e3),
        n => format!("{:.0} million", n / 1e6),
    }
}

/// So many things: `1 core`, `2 cores`.
pub fn plural(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "50", "ms", "-1s", "2d", "1e9s", "nans", "infs", "5 parsecs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("2m"), Err("unknown unit m; use us, ms, s".into()));
        for text in ["0ms", "50ms", "1.5s", "7µs"] {
            assert_eq!(duration(text).map(time), Ok(text.to_string()));
        }
    }

    #[test]
    fn figures_have_units() {
        assert_eq!(bytes(463.2), "463 B");
        assert_eq!(bytes(12_800.0), "12.5 KiB");
        assert_eq!(seconds(1.234e-6), "1.2 µs");
        assert_eq!(seconds(9.6e-8), "96 ns");
        assert_eq!(count(2_300_000.0), "2 million");
        assert_eq!(plural(1, "core"), "1 core");
    }
}
