#[allow(dead_code)]
mod scheduler;

fn main() {}
