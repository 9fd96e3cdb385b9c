//! What only threads have, to be shown.

pub mod deadlock;
pub mod gil;
pub mod left_behind;
mod limit;
pub mod rayon_pool;
