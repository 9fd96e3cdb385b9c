//! What is shown besides the workloads.

pub mod delegation;
pub mod generators;
pub mod greenlets;
pub mod scheduler;
