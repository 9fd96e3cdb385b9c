//! One file for each workload: its flags, how it is run and measured, its picture, and the judges
//! of the claims that it decides.

pub mod context;
pub mod cpu_bound;
pub mod deadline;
pub mod early_results;
pub mod interactivity;
pub mod io_bound;
pub mod ordering;
pub mod pause;
pub mod resources;
pub mod server;
pub mod shared_state;
