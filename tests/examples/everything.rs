//! Everything in every style, at full speed: `cargo run --release -p tests --example everything`.
//! It ends at a wrong answer, and at a claim that does not hold.

use std::process::{ExitCode, Stdio};

use tests::programs::Setup;
use tests::styles::STYLES;

fn main() -> ExitCode {
    for style in &STYLES {
        println!("\n== {}", style.name);
        let setup = Setup::new(style, &["--check"]);
        let shown = setup.with(|command| {
            command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        });
        let status = shown.start().wait();
        if !status.success() {
            eprintln!("{}: {status}", style.name);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
