//! The tables of the README and the tests that they name.

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
