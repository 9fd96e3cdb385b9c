//! One file a workload: its input, its pure steps, the expected answer, what is measured, and
//! the claims of the talk that it decides.

pub mod cpu_bound;
pub mod early_results;
pub mod io_bound;
