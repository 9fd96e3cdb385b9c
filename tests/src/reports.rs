//! What a program reports with `--format json`.

use serde_json::Value;

use crate::programs::run;
use crate::styles::Style;

/// The document of one workload; the program must have succeeded.
#[track_caller]
pub fn document(style: &Style, workload: &str, flags: &[&str]) -> Value {
    let args = [&[workload, "--format", "json"], flags].concat();
    let answer = run(style, &args).answer();
    serde_json::from_str(&answer).expect("one document, and nothing else")
}

/// The measurements of one workload.
#[track_caller]
pub fn measured(style: &Style, workload: &str, flags: &[&str]) -> Value {
    document(style, workload, flags)["workloads"][workload]["measured"].take()
}

/// The verdict on a claim.
#[track_caller]
pub fn verdict<'a>(document: &'a Value, claim: &str) -> &'a str {
    let mut claims = document["claims"].as_array().expect("a list").iter();
    let claim = claims.find(|c| c["id"] == claim).expect("what was run decides this claim");
    claim["verdict"].as_str().expect("a word")
}
