//! The table "what a task costs": its shape, which must also be that of the README.

/// The command that prints it.
pub const COMMAND: &str = "cargo run --release -p tests --example costs";

/// Its columns.
pub const COLUMNS: [&str; 7] = [
    "style",
    "idle tasks",
    "memory per task",
    "in the kernel",
    "starting one",
    "a switch",
    "the bare library",
];

/// The first cell of each row: the styles by name, then what they are compared with.
pub fn rows() -> Vec<&'static str> {
    let styles = crate::styles::STYLES.iter().map(|style| style.name);
    styles.chain([PLAIN]).collect()
}

/// The memory of each program beside its tasks.
pub const PLAIN: &str = "a plain thread";

/// A line of the table.
pub fn line(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |", cells.join(" | "))
}

/// The lines above the rows.
pub fn head() -> [String; 2] {
    [line(&COLUMNS), line(&["---"; COLUMNS.len()]).replace(' ', "")]
}
