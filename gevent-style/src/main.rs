#[allow(dead_code)]
mod futex;
#[allow(dead_code)]
mod greenlet;
#[allow(dead_code)]
mod hub;
#[allow(dead_code)]
mod monkey;

#[cfg(test)]
mod tests;

fn main() {}
