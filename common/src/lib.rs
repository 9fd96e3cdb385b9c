//! What all styles share: `common` computes, the style waits.

pub mod http;
pub mod site;
