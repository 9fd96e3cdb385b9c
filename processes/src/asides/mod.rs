//! What only processes have.

pub mod pool;
pub mod start_methods;
