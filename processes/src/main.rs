#[allow(dead_code)]
mod process;
#[allow(dead_code)]
mod shared_memory;

fn main() {}
