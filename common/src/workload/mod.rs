//! One file a workload: its input, its pure steps, the expected answer, what is measured, and
//! the claims of the talk that it decides.

pub mod control;
pub mod cpu_bound;
pub mod early_results;
pub mod interactivity;
pub mod io_bound;
pub mod ordering;
pub mod resources;
pub mod server;
pub mod shared_state;
