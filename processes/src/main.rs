#[allow(dead_code)]
mod process;

fn main() {}
