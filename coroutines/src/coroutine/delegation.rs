//! `yield from`: a generator hands its caller over to another one until that one returns.
//!
//! The caller talks to the inner generator as if there were nothing in between. PEP 380 defines
//! what passes through. Each of its rules is a test below, with a name that says the rule.

use super::generators::{Generator, GeneratorExit, Raised, Step, StopIteration, Yielder};

/// `result = yield from inner`
///
/// A generator that has started goes on: its current yield gets the default of its type, in place
/// of Python's `None`. One that has ended yields nothing, and returns the default.
///
/// # Errors
///
/// What `inner` raises, and [`GeneratorExit`] when the delegating generator is closed. Pass both
/// on, with `?`.
pub fn yield_from<S: Default + 'static, Y: 'static, R: Default + 'static>(
    yielder: &Yielder<S, Y>,
    mut inner: Generator<S, Y, R>,
) -> Result<R, Raised> {
    let mut step = match inner.advance() {
        Err(raised) if raised.is::<StopIteration>() => return Ok(R::default()),
        step => step?,
    };
    loop {
        let value = match step {
            Step::Yielded(value) => value,
            Step::Returned(result) => return Ok(result),
        };
        step = match yielder.suspend(value) {
            Ok(sent) => inner.send(sent)?,
            Err(raised) if raised.is::<GeneratorExit>() => {
                inner.close()?;
                return Err(raised);
            }
            Err(raised) => inner.throw(raised)?,
        };
    }
}

/// `yield from iterable`, for any iterator. Nothing can be sent to it. It has no `throw` and no
/// `close`, so an error that is thrown in is raised here.
///
/// # Errors
///
/// What is thrown in.
pub fn yield_each<Y>(
    yielder: &Yielder<(), Y>,
    iterable: impl IntoIterator<Item = Y>,
) -> Result<(), Raised> {
    for value in iterable {
        yielder.suspend(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
