//! The tables of the README and the tests that they name.

use std::fs;
use std::path::Path;

/// Each line of the two tables names its test.
#[test]
fn every_line_of_the_tables_names_a_test_that_exists() {
    let readme = include_str!("../../README.md");
    for (heading, tests) in [
        ("### Patched", include_str!("patched.rs")),
        ("### Not patched", include_str!("not_patched.rs")),
    ] {
        let table = readme.split(heading).nth(1).unwrap().split("\n#").next().unwrap();
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert!(rows.len() > 5, "{heading}: {rows:?}");
        for row in rows {
            let test = row.rsplit('`').nth(1).unwrap();
            assert!(tests.contains(&format!("fn {test}()")), "no test {test}");
        }
    }
}

/// A link to a line leads to the definition of what it names.
#[test]
fn every_link_to_a_line_leads_to_what_it_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = include_str!("../../README.md");
    let mut links = 0;
    for link in readme.split("[`").skip(1) {
        let Some((name, target)) = link.split_once("`](") else { continue };
        let target = target.split(')').next().unwrap();
        let Some((file, line)) = target.split_once("#L") else { continue };
        let name = name.rsplit("::").next().unwrap();
        let source = fs::read_to_string(folder.join(file)).unwrap();
        let defines = |line: &str| {
            ["fn ", "struct "].iter().any(|kind| {
                let after = line.split_once(&format!("{kind}{name}")).map(|(_, after)| after);
                after.is_some_and(|after| {
                    !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                })
            })
        };
        let there = line.parse().ok().and_then(|n: usize| source.lines().nth(n - 1));
        assert!(there.is_some_and(defines), "{name} is not in line {line} of {file}");
        links += 1;
    }
    assert!(links > 20, "only {links} links to lines");
}
