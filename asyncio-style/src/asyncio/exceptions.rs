//! Why a future has no result (`asyncio.exceptions`).

use std::fmt;
use std::rc::Rc;

/// Why a future has no result.
#[derive(Clone, Debug)]
pub enum Exception {
    /// It was cancelled (`CancelledError`).
    Cancelled,
    /// What was raised; several may look at it.
    Raised(Rc<dyn std::error::Error>),
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exception::Cancelled => f.write_str("cancelled"),
            Exception::Raised(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Exception {
    fn from(error: E) -> Exception {
        Exception::Raised(Rc::new(error))
    }
}
