//! What only processes have, to be shown.

pub mod pool;
pub mod start_methods;
