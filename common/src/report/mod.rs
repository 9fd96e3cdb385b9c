//! What is printed: sections with bars, timelines and verdicts, as text or as one JSON document.

pub mod bars;
pub mod color;
pub mod json;
pub mod print;
pub mod screen;
pub mod section;
pub mod stats;
pub mod timeline;
pub mod trace;
pub mod verdict;
