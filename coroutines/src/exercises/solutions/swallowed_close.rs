//! `count` makes a generator that yields 1, 2, 3 and so on. An error that is thrown in should
//! make it start again at 1. A generator that is closed should end.
//! What was wrong: it took its own end for one more error, and went on.
//! The bug: a bare `except:` in a Python generator. PEP 342, `GeneratorExit`.

use crate::coroutine::generators::{Generator, GeneratorExit};

pub fn count() -> Generator<(), u32, ()> {
    Generator::new(|numbers| {
        let mut n = 1;
        loop {
            n = match numbers.suspend(n) {
                Ok(()) => n + 1,
                Err(raised) if raised.is::<GeneratorExit>() => return Err(raised),
                Err(_) => 1,
            };
        }
    })
}
