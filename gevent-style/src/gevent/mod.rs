//! The machinery, named as gevent's modules are. Each file uses only those above it in this list.

pub mod hub;

pub mod futex;
pub mod monkey;

#[allow(dead_code, reason = "gevent's names, all of them; the tests use the rest")]
pub mod event;
#[allow(dead_code, reason = "gevent's names, all of them; the tests use the rest")]
pub mod queue;

pub mod greenlet;
#[allow(dead_code, reason = "gevent's names, all of them; the tests use the rest")]
pub mod pool;
