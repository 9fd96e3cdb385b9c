//! The exercises, fixed: one solution each. There are others.

pub mod computing_callback;
pub mod lock_not_released;
pub mod one_data_one_line;
