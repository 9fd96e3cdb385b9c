use std::process::ExitCode;
use std::{fmt, io};

/// Why a program ends without its answer, as a sentence its user can act on.
#[derive(Debug)]
pub enum Error {
    /// What was asked for cannot be done: exit 2.
    Usage(String),
    /// A partner failed, a given address could not be fetched, or a file could not be written: exit
    /// 1.
    Failed(String),
}

impl Error {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage(_) => ExitCode::from(2),
            Error::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(sentence) | Error::Failed(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Error {}

/// A partner that cannot be reached or asked has failed.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Failed(error.to_string())
    }
}
