//! The exercises, fixed: one solution each. There are others.

pub mod dripping_peer;
pub mod lost_update;
pub mod two_locks;
