//! `count` makes a generator that yields 1, 2, 3 and so on. An error that is thrown in should
//! make it start again at 1. A generator that is closed should end.
//! Hint: `close` throws in a `GeneratorExit`, and what was thrown in is `Err(raised)`. Ask
//! `raised.is::<GeneratorExit>()`, and pass that one on.
//! The bug: a bare `except:` in a Python generator. PEP 342, `GeneratorExit`.
//! Try it: `cargo test -p coroutines swallowed_close -- --ignored`

use crate::coroutine::generators::Generator;

pub fn count() -> Generator<(), u32, ()> {
    Generator::new(|numbers| {
        let mut n = 1;
        loop {
            n = match numbers.suspend(n) {
                Ok(()) => n + 1,
                Err(_) => 1,
            };
        }
    })
}
