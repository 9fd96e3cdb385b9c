//! The terminal that shows the report.

use std::io::{self, IsTerminal};

use terminal_size::{Height, Width, terminal_size_of};

/// How many columns a picture may take: those of the terminal, or 80 without one.
pub fn columns() -> usize {
    match size() {
        Some((columns, _)) => columns.clamp(40, 160),
        None => 80,
    }
}

/// The terminal's columns and rows, if stderr is a terminal.
pub fn size() -> Option<(usize, usize)> {
    let (Width(columns), Height(rows)) = terminal_size_of(io::stderr())?;
    Some((usize::from(columns), usize::from(rows)))
}

/// Whether stdout is a terminal.
pub fn shows_answers() -> bool {
    io::stdout().is_terminal()
}
