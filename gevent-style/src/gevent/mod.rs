//! The machinery. Its names are those of gevent's modules, if gevent has the same. Each file uses
//! only those before it in this list.

pub mod sys;

pub mod fork;
pub mod overflow;
pub mod worker;

pub mod waiter;

pub mod hub;

pub mod helpers;

pub mod cooperate;

pub mod futex;
pub mod process;
pub mod socket;

pub mod pipe;

pub mod monkey;

pub mod timeout;

pub mod line;

#[allow(dead_code, reason = "gevent's names, all of them; the tests use the rest")]
pub mod event;
#[allow(dead_code, reason = "gevent's names, all of them; the tests use the rest")]
pub mod queue;

pub mod greenlet;

#[allow(dead_code, reason = "gevent's names, all of them; the tests use the rest")]
pub mod pool;
