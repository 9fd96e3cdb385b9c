//! What is shown beside the workloads.

pub mod delegation;
pub mod generators;
pub mod greenlets;
pub mod scheduler;
