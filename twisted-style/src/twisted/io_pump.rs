//! Two protocols and no socket: `twisted.test.iosim`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::rc::Rc;

use super::clock::ReactorTime;
use super::connection::{Connection, Waits, Wire};
use super::protocol::Protocol;
use super::transport::{Changed, Transport};

/// Two protocols connected through memory (`twisted.test.iosim`): no socket, no reactor, and
/// everything happens inside [`pump`](IoPump::pump).
pub struct IoPump {
    /// The client, the server; `None` when its connection is over.
    ends: [Option<End>; 2],
    changed: Changed,
}

struct End {
    connection: Connection<Memory>,
    waits: Waits,
}

/// One direction: what was sent and not yet received.
#[derive(Default)]
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    closed: Cell<bool>,
    reset: Cell<bool>,
}

struct Memory {
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
    /// How many bytes a pipe holds; then the sender waits, as with a socket.
    capacity: usize,
}

impl Wire for Memory {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.incoming.bytes.borrow_mut();
        if bytes.is_empty() && self.incoming.reset.get() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if bytes.is_empty() && !self.incoming.closed.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        bytes.read(buffer)
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        if self.outgoing.closed.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut bytes = self.outgoing.bytes.borrow_mut();
        let n = data.len().min(self.capacity - bytes.len());
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        bytes.extend(&data[..n]);
        Ok(n)
    }

    fn close_write(&self) -> io::Result<()> {
        self.outgoing.closed.set(true);
        Ok(())
    }

    fn reset(&self) {
        self.outgoing.reset.set(true);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.incoming.closed.set(true);
        self.outgoing.closed.set(true);
    }
}

impl IoPump {
    /// Connects them. Each direction holds `capacity` bytes on their way.
    pub fn connect(
        client: impl Protocol,
        server: impl Protocol,
        clock: &impl AsRef<ReactorTime>,
        capacity: usize,
    ) -> IoPump {
        let (to_server, to_client) = (Rc::<Pipe>::default(), Rc::<Pipe>::default());
        let changed = Changed::default();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let end = |key, incoming, outgoing, protocol| {
            let wire = Memory { incoming, outgoing, capacity };
            let clock = clock.as_ref().clone();
            let transport = Transport::new(key, nowhere, clock, changed.clone());
            let connection = Connection::new(wire, transport, protocol);
            connection.made();
            Some(End { connection, waits: Waits::For { read: true, write: false } })
        };
        let client = end(0, to_client.clone(), to_server.clone(), Box::new(client) as _);
        let server = end(1, to_server, to_client, Box::new(server));
        IoPump { ends: [client, server], changed }
    }

    /// One round: both do what they requested, then both receive what has been sent to them. False
    /// if there was nothing to do.
    pub fn pump(&mut self) -> bool {
        let mut busy = false;
        while let Some(key) = self.changed.next() {
            busy = true;
            self.settle(key);
        }
        for key in 0..self.ends.len() {
            let Some(end) = &self.ends[key] else { continue };
            let wire = &end.connection.wire;
            let something = !wire.incoming.bytes.borrow().is_empty() || wire.incoming.closed.get();
            let space = wire.outgoing.bytes.borrow().len() < wire.capacity;
            let Waits::For { read, write } = end.waits else { continue };
            if read && something {
                busy = true;
                end.connection.readable(&mut [0; 4096]);
            }
            if write && (space || wire.outgoing.closed.get()) {
                busy = true;
                self.settle(key);
            }
        }
        busy
    }

    /// Pumps until there is nothing to do.
    pub fn flush(&mut self) {
        while self.pump() {}
    }

    fn settle(&mut self, key: usize) {
        let Some(end) = &mut self.ends[key] else { return };
        end.waits = end.connection.settle();
        if end.waits == Waits::Over
            && let Some(End { connection, .. }) = self.ends[key].take()
        {
            connection.lost();
        }
    }
}
