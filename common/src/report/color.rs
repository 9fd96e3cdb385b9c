//! The colors of a terminal.

use anstyle::{AnsiColor, Style};

pub const TITLE: Style = Style::new().bold();

pub const GOOD: Style = AnsiColor::Green.on_default();

pub const ODD: Style = AnsiColor::Yellow.on_default();

pub const BAD: Style = AnsiColor::Red.on_default();

/// A part of a picture that must stand out: in red, on a terminal.
pub fn red(text: &str) -> String {
    format!("{BAD}{text}{BAD:#}")
}
