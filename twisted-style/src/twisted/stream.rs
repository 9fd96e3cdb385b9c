//! A connection for `async` blocks: they await a read, instead of `data_received`.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use super::defer::{Deferred, Resolver};
use super::failure::Failure;
use super::protocol::Protocol;
use super::reactor::Reactor;
use super::transport::Transport;

/// A connection to read from with an await. Dropping it closes the connection.
///
/// Twisted has no such class. Its users write a protocol like the one below to await bytes.
pub struct Stream {
    socket: Transport,
    received: Rc<Received>,
}

impl Stream {
    /// Connects to `address`. Fails if that takes longer than `timeout`; cancelling it stops
    /// connecting.
    pub fn connect(reactor: &Reactor, address: SocketAddr, timeout: Duration) -> Deferred<Stream> {
        let (connected, stream) = Deferred::new();
        let protocol = Reading { connected: Some(connected), received: Rc::default() };
        let connection = reactor.connect_tcp(address, protocol, timeout);
        stream.with_canceller(move || connection.disconnect())
    }

    /// The bytes that have arrived since the last read, or the next ones; none at the end of the
    /// connection. Nothing is read from the socket between two reads.
    ///
    /// # Errors
    /// The Deferred fails if the connection is lost, or if another read begins before it has fired.
    pub fn read(&self) -> Deferred<Vec<u8>> {
        let (reader, read) = Deferred::new();
        self.received.reader.set(Some(reader));
        self.received.deliver();
        self.socket.resume_producing();
        read
    }
}

impl Deref for Stream {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.socket
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.socket.lose_connection();
    }
}

/// What has arrived, and the read that waits for it.
#[derive(Default)]
struct Received {
    bytes: RefCell<Vec<u8>>,
    /// How the connection has ended.
    end: Cell<Option<io::Result<()>>>,
    reader: Cell<Option<Resolver<Vec<u8>>>>,
}

impl Received {
    /// Fires the read that waits, if there is something for it.
    fn deliver(&self) {
        let Some(reader) = self.reader.take() else { return };
        let bytes = self.bytes.take();
        if !bytes.is_empty() {
            return reader.callback(bytes);
        }
        match self.end.take() {
            None => self.reader.set(Some(reader)),
            Some(end) => {
                self.end.set(Some(Ok(()))); // later reads see the end
                reader.fire(end.map(|()| bytes).map_err(Failure::from));
            }
        }
    }
}

struct Reading {
    connected: Option<Resolver<Stream>>,
    received: Rc<Received>,
}

impl Protocol for Reading {
    fn connection_made(&mut self, socket: &Transport) {
        socket.pause_producing();
        if let Some(connected) = self.connected.take() {
            let (socket, received) = (socket.clone(), self.received.clone());
            connected.callback(Stream { socket, received });
        }
    }

    fn data_received(&mut self, socket: &Transport, data: &[u8]) {
        self.received.bytes.borrow_mut().extend_from_slice(data);
        socket.pause_producing();
        self.received.deliver();
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        self.received.end.set(Some(reason));
        self.received.deliver();
    }

    fn connection_failed(&mut self, reason: io::Error) {
        if let Some(connected) = self.connected.take() {
            connected.errback(reason);
        }
    }
}
