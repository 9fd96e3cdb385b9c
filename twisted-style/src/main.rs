#[allow(dead_code)] // all of it is in use when the asides are there
mod clock;
#[allow(dead_code)]
mod deferred;
#[allow(dead_code)]
mod protocol;
#[allow(dead_code)]
mod reactor;

fn main() {}
