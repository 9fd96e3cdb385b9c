//! The exercises, fixed: one solution each. There are others.

pub mod await_in_a_loop;
pub mod guard_across_await;
pub mod read_exact_raced;
