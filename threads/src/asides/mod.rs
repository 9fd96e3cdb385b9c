//! What only threads have.

pub mod deadlock;
pub mod gil;
pub mod left_behind;
mod limit;
pub mod rayon_pool;
