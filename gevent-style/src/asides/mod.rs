//! What the ten workloads do not show: each file is a command of its own.

pub mod apart;
pub mod hub;
pub mod many_workers;
pub mod monkey_patching;
