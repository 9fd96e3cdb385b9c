//! The exercises, fixed: one solution each. There are others.

pub mod dead_worker;
pub mod lock_in_fork;
pub mod open_end;
