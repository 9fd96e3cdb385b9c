//! What a failed test prints first: the style, what was expected, what was seen.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// The style of the program that this thread started last.
    static STYLE: Cell<&'static str> = const { Cell::new("") };
}

/// From now on a panic of this thread names this style.
pub fn about(style: &'static str) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|panic| {
            let what = words(STYLE.get(), panic.payload_as_str().unwrap_or("no words"));
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            eprintln!("{what}\n  at {place}");
        }));
    });
    STYLE.set(style);
}

/// The message of a panic with the style in front. In an assertion of equality the left side is
/// what was seen, and the right side what was expected: the suites write it in this order.
fn words(style: &str, message: &str) -> String {
    let parts = message
        .strip_prefix("assertion `left == right` failed")
        .and_then(|rest| rest.split_once("\n  left: "))
        .and_then(|(why, rest)| Some((why, rest.split_once("\n right: ")?)));
    let message = match parts {
        Some((why, (seen, expected))) => {
            let why = why.strip_prefix(": ").map(|why| format!(" ({why})")).unwrap_or_default();
            format!("expected {expected}, seen {seen}{why}")
        }
        None => message.to_string(),
    };
    if style.is_empty() || message.starts_with(style) {
        return message;
    }
    format!("{style}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message of a panic.
    fn said(work: impl FnOnce() + panic::UnwindSafe) -> String {
        let payload = panic::catch_unwind(work).expect_err("it panics");
        *payload.downcast::<String>().expect("it has words")
    }

    #[test]
    fn a_failed_test_names_the_style_and_both_sides() {
        let seen = said(|| assert_eq!(1 + 1, 3, "by {}", "hand"));
        assert_eq!(words("on_tokio", &seen), "on_tokio: expected 3, seen 2 (by hand)");
        let seen = said(|| assert_eq!(vec![1, 1], [0; 0]));
        assert_eq!(words("on_tokio", &seen), "on_tokio: expected [], seen [1, 1]");
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        assert_eq!(words("threads", "no end"), "threads: no end");
        assert_eq!(words("threads", "threads: no end"), "threads: no end");
        assert_eq!(words("", "no end"), "no end");
    }
}
