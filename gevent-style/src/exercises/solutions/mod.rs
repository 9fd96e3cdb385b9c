//! The exercises, fixed: one solution each. There are others.

pub mod killed_map;
pub mod round_the_patch;
pub mod sleep_zero_loop;
