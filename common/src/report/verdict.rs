//! The verdict on a claim of the talk.

use crate::claims;

/// The verdict on a claim of the talk.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// With what the run showed.
    Holds(String),
    /// With the reason.
    Differs(String),
    /// With what the run showed instead: our code or our judgment is wrong.
    Fails(String),
    /// With what is missing.
    NotMeasurable(String),
    /// No number decides it: the file and function to look at.
    ReadIt(String),
    /// What decides it was not part of this run.
    NotRun,
}

impl Verdict {
    /// Whether something is wrong.
    pub fn fails(&self) -> bool {
        matches!(self, Verdict::Fails(_))
    }

    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Holds(_) => "holds",
            Verdict::Differs(_) => "differs in Rust",
            Verdict::Fails(_) => "does not hold",
            Verdict::NotMeasurable(_) => "not measurable here",
            Verdict::ReadIt(_) => "read it",
            Verdict::NotRun => "not run",
        }
    }

    pub fn evidence(&self) -> &str {
        match self {
            Verdict::Holds(why)
            | Verdict::Differs(why)
            | Verdict::Fails(why)
            | Verdict::NotMeasurable(why)
            | Verdict::ReadIt(why) => why,
            Verdict::NotRun => "",
        }
    }
}

/// A claim, judged.
pub struct Judged {
    pub text: &'static claims::Text,
    pub verdict: Verdict,
}
