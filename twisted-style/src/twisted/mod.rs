//! The parts of Twisted that the workloads use.

mod chain;
pub mod clock;
pub mod connection;
pub mod cooperator;
pub mod defer;
pub mod failure;
pub mod gather;
pub mod inline;
pub mod io_pump;
pub mod line_receiver;
pub mod locks;
pub mod looping_call;
pub mod protocol;
pub mod reactor;
mod selector;
pub mod stream;
pub mod tcp;

pub mod thread_pool;
pub mod transport;

use reactor::Reactor;

/// Calls `main` with a reactor, which it runs. The reactor is dropped when this returns.
pub fn run<T>(main: impl FnOnce(&Reactor) -> T) -> T {
    let reactor = Reactor::new().expect("there is a descriptor left for an epoll");
    main(&reactor)
}

#[cfg(test)]
mod tests;
