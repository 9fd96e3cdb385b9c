//! Two files beside each other in a terminal. If it is too narrow for that, one above the other,
//! function by function.

use std::fmt::Write;
use std::iter::repeat_n;

use ::tests::styles;
use anstyle::{AnsiColor, Style};

use crate::alignment::{Aligned, Kind, Part, Row};
use crate::marks::Mark;
use crate::source::{Line, Source};
use crate::tokens::Class;

/// From this width on, two files stand beside each other.
const BESIDE: usize = 120;
/// Mark, line number and wait stand before a line.
const GUTTER: usize = 8;

const QUIET: Style = Style::new().dimmed();
const WAIT: Style = AnsiColor::Green.on_default().bold().underline();
const ASYNC: Style = AnsiColor::Green.on_default();
const SIDES: [Style; 2] = [AnsiColor::Yellow.on_default(), AnsiColor::BrightBlue.on_default()];

/// One side: what it is called, and its file.
pub struct Side<'a> {
    pub style: &'a styles::Style,
    pub source: &'a Source,
}

/// The lines to print, with colors, `width` columns at most.
pub fn draw(sides: &[Side; 2], aligned: &Aligned, width: usize) -> Vec<String> {
    let mut lines = vec![legend(aligned)];
    let shown = aligned.parts.iter().filter(|(part, _)| *part != Part::Header);
    if width < BESIDE {
        for (part, rows) in shown {
            for (number, side) in sides.iter().enumerate() {
                stacked(&mut lines, number, side, *part, rows, width);
            }
        }
        return lines;
    }
    let half = (width - 3) / 2;
    let title = |side: usize| {
        let Side { style, source } = &sides[side];
        let text = cut(&format!("{}  {}", style.name, source.path.display()), half);
        format!("{0}{text}{0:#}{1}", SIDES[side].bold(), spaces(half, text.chars().count()))
    };
    lines.push(format!("{}   {}", title(0), title(1)).trim_end().to_string());
    for (part, rows) in shown {
        if *part == Part::Imports {
            let short = |side: &Side| cut(&side.source.imports_in_short(), half);
            let [left, right] = [short(&sides[0]), short(&sides[1])];
            let gap = spaces(half, left.chars().count());
            lines.push(format!("{QUIET}{left}{gap}   {right}{QUIET:#}"));
            lines.push(String::new());
            continue;
        }
        for row in rows {
            let [left, right] = [0, 1].map(|side| half_row(side, sides[side].source, row, half));
            lines.push(format!("{left}   {right}").trim_end().to_string());
        }
    }
    lines
}

fn legend(aligned: &Aligned) -> String {
    let [alike, but_for_async, differ] = aligned.counts;
    format!("{alike} lines alike, {but_for_async} but for async, {differ} differ (~ +); ● waits")
}

/// One side of one function.
fn stacked(
    lines: &mut Vec<String>,
    side: usize,
    Side { style, source }: &Side,
    part: Part,
    rows: &[Row],
    width: usize,
) {
    let here = |row: &&Row| numbers(row)[side].is_some();
    if !rows.iter().any(|row| here(&row)) {
        return;
    }
    let name = match part {
        Part::Header => return,
        Part::Imports => {
            let text = format!("{}: {}", style.name, source.imports_in_short());
            return lines.push(format!("{QUIET}{}{QUIET:#}", cut(&text, width)));
        }
        Part::Function(name) => format!("{} · {name} ", style.name),
        Part::Between => format!("{} ", style.name),
    };
    let rule = width.saturating_sub(name.chars().count() + 3);
    let rule: String = repeat_n('─', rule).collect();
    lines.push(format!("{0}── {name}{rule}{0:#}", SIDES[side]));
    for row in rows.iter().filter(here) {
        lines.push(half_row(side, source, row, width).trim_end().to_string());
    }
}

fn numbers(row: &Row) -> [Option<usize>; 2] {
    [row.left, row.right]
}

/// A line of one side, `width` columns wide; blank where that side has none.
fn half_row(side: usize, source: &Source, row: &Row, width: usize) -> String {
    let Some(number) = numbers(row)[side] else { return spaces(width, 0) };
    let line = &source.lines[number];
    let color = SIDES[side];
    let sign = match row.kind {
        _ if line.text.is_empty() => ' ',
        Kind::Same | Kind::Async => ' ',
        Kind::Similar => '~',
        Kind::Apart if row.moved[side] => '↕',
        Kind::Apart => '+',
    };
    let waits = if line.waits.is_empty() { ' ' } else { '●' };
    let mut text = format!("{color}{sign}{color:#}{QUIET}{:>4}{QUIET:#} ", number + 1);
    let _ = write!(text, "{ASYNC}{waits}{ASYNC:#} ");
    let (code, shown) = colored(side, line, row, width.saturating_sub(GUTTER));
    text + &code + &spaces(width.saturating_sub(GUTTER), shown)
}

/// The code of a line, cut to `width`, and how wide it is.
fn colored(side: usize, line: &Line, row: &Row, width: usize) -> (String, usize) {
    let all = crate::tokens::width(&line.tokens);
    let most = if all > width { width.saturating_sub(1) } else { width };
    let (mut text, mut shown) = (String::new(), 0);
    for (n, token) in line.tokens.iter().enumerate() {
        let piece: String = token.text.chars().take(most - shown).collect();
        let mark = row.marks[side].iter().find(|(at, _)| *at == n).map(|(_, mark)| *mark);
        let style = match (row.kind, mark) {
            _ if line.waits.contains(&n) => WAIT,
            (_, Some(Mark::Differs)) => SIDES[side].bold().invert(),
            (_, Some(Mark::Renamed)) => SIDES[side].underline(),
            (_, Some(Mark::Async)) => ASYNC,
            (Kind::Apart, _) if token.class != Class::Blank => SIDES[side],
            (Kind::Same | Kind::Async, _) => QUIET,
            _ => Style::new(),
        };
        let _ = write!(text, "{style}{piece}{style:#}");
        shown += piece.chars().count();
        if shown == most && all > width {
            text.push('…');
            return (text, most + 1);
        }
    }
    (text, shown)
}

/// A text of at most `width` columns.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn spaces(width: usize, used: usize) -> String {
    " ".repeat(width.saturating_sub(used))
}

/// How many columns stdout has: the terminal's, or `COLUMNS`, or 80.
pub fn terminal_width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    window_size().or(columns).filter(|&width| width >= 40).unwrap_or(80)
}

#[expect(unsafe_code, reason = "only the system call itself knows the size")]
fn window_size() -> Option<usize> {
    // SAFETY: the structure is plain numbers, of which all zeros are valid ones.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to the structure, which outlives the call.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}
