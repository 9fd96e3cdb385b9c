//! The README's table "what a task costs" has the shape that its command prints. Its figures are
//! those of one machine on one day, and are not checked.

use std::fs;

use tests::costs::{COLUMNS, COMMAND, head, rows};
use tests::programs::workspace;

#[test]
fn the_readme_has_the_table_that_the_command_prints() {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("it is there");
    assert!(readme.contains(COMMAND), "the README names the command: {COMMAND}");
    let [columns, ruler] = head();
    let (_, table) = readme.split_once(&columns).unwrap_or_else(|| panic!("no table {columns}"));
    let mut lines = table.trim_start_matches('\n').lines();
    assert_eq!(lines.next(), Some(ruler.as_str()));
    let table: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    let cells = |line: &&str| line.trim_matches('|').split('|').count();
    assert!(table.iter().all(|line| cells(line) == COLUMNS.len()), "{table:#?}");
    let name =
        |line: &&str| line.trim_matches('|').split('|').next().map(str::trim).map(String::from);
    let names: Vec<String> = table.iter().filter_map(name).collect();
    assert_eq!(names, rows());
}
