//! What only threads have, to be shown.

pub mod deadlock;
pub mod gil;
pub mod left_behind;
pub mod rayon_pool;
