//! The logic of a connection, without the transfer of its bytes: Twisted's `Protocol`, `Factory`
//! and `Transport` (`twisted.internet.protocol`, `twisted.internet.interfaces`).
//!
//! The reactor calls a [`Protocol`] when something has happened. The protocol answers through its
//! [`Transport`]. The methods of that only note what is wanted: the bytes are sent, and the
//! connection is closed, when the protocol has returned. No method of a protocol is ever called
//! inside another.

use std::io;
use std::net::SocketAddr;

use super::transport::Transport;

/// One side of a connection. Python keeps the transport in `self.transport`. Here every method that
/// can answer gets it, and may keep a clone.
///
/// A panic in one of these is the error of its own connection, and closes it.
pub trait Protocol: 'static {
    /// The connection is there.
    fn connection_made(&mut self, _transport: &Transport) {}

    /// Some bytes have arrived: at least one, cut anywhere.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// The peer will send no more (`IHalfCloseableProtocol.readConnectionLost`). By default the
    /// connection is closed.
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.lose_connection();
    }

    /// The time set by [`Transport::set_timeout`] has passed (`TimeoutMixin.timeoutConnection`).
    fn timeout_connection(&mut self, transport: &Transport) {
        transport.fail_connection(io::ErrorKind::TimedOut.into());
    }

    /// After [`Transport::pause_producing`] and `resume_producing`: bytes arrive again. For
    /// protocols that keep bytes that they have not handled yet.
    fn reading_resumed(&mut self, _transport: &Transport) {}

    /// More is written than the peer accepts: see [`Transport::buffered`].
    fn pause_producing(&mut self, _transport: &Transport) {}

    /// After [`pause_producing`](Protocol::pause_producing): all of it has been sent.
    fn resume_producing(&mut self, _transport: &Transport) {}

    /// The connection is over: `Ok` if one of the two sides has closed it (`ConnectionDone`), the
    /// error otherwise (`ConnectionLost`). Always called, once, and last.
    fn connection_lost(&mut self, _reason: io::Result<()>) {}

    /// There never was a connection (`ClientFactory.clientConnectionFailed`). To most clients
    /// that is the same as losing it.
    fn connection_failed(&mut self, reason: io::Error) {
        self.connection_lost(Err(reason));
    }
}

/// Makes a protocol for each connection that is accepted; `None` closes it (`Factory`). Any
/// function from the peer's address to a protocol is one.
pub trait Factory: 'static {
    /// What it makes.
    type Protocol: Protocol;

    /// Called when a connection has been accepted.
    fn build_protocol(&mut self, peer: SocketAddr) -> Option<Self::Protocol>;
}

impl<P: Protocol, F: FnMut(SocketAddr) -> Option<P> + 'static> Factory for F {
    type Protocol = P;

    fn build_protocol(&mut self, peer: SocketAddr) -> Option<P> {
        self(peer)
    }
}
