//! Why a future has no result (`asyncio.exceptions`).

use std::error::Error;
use std::fmt;
use std::rc::Rc;

/// Why a future has no result.
#[derive(Clone, Debug)]
pub enum Exception {
    /// It was cancelled (`CancelledError`).
    Cancelled,
    /// The error that was raised; several readers may share it.
    Raised(Rc<dyn Error>),
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exception::Cancelled => f.write_str("cancelled"),
            Exception::Raised(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> From<E> for Exception {
    fn from(error: E) -> Exception {
        Exception::Raised(Rc::new(error))
    }
}

/// The loop, or one of its parts, was used in a way that cannot work (`RuntimeError`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuntimeError(pub &'static str);

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for RuntimeError {}
