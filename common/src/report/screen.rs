//! The terminal that a report is read on.

use std::io::{self, IsTerminal};

use terminal_size::{Height, Width, terminal_size_of};

/// How many columns a picture may take: those of the terminal, or 80 where there is none.
pub fn columns() -> usize {
    match size() {
        Some((columns, _)) => columns.clamp(40, 160),
        None => 80,
    }
}

/// The terminal's columns and rows, if what was measured is read on one.
pub fn size() -> Option<(usize, usize)> {
    let (Width(columns), Height(rows)) = terminal_size_of(io::stderr())?;
    Some((usize::from(columns), usize::from(rows)))
}

/// Whether the answers are read on a terminal.
pub fn shows_answers() -> bool {
    io::stdout().is_terminal()
}
