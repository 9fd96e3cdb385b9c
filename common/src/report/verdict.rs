//! How a claim of the talk came out.

/// How a claim of the talk came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// With what was seen.
    Holds(String),
    /// With the reason.
    Differs(String),
    /// With what was seen instead: our code or our judgement is at fault.
    Fails(String),
    /// With what is missing.
    NotMeasurable(String),
    /// No number decides it: the file and function to look at.
    ReadIt(String),
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Holds(_) => "holds",
            Verdict::Differs(_) => "differs in Rust",
            Verdict::Fails(_) => "does not hold",
            Verdict::NotMeasurable(_) => "not measurable here",
            Verdict::ReadIt(_) => "read it",
        }
    }

    pub fn evidence(&self) -> &str {
        match self {
            Verdict::Holds(why)
            | Verdict::Differs(why)
            | Verdict::Fails(why)
            | Verdict::NotMeasurable(why)
            | Verdict::ReadIt(why) => why,
        }
    }
}
