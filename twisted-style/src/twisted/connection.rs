//! A connection: a wire and its protocol. It is the same for a socket in the reactor and for memory
//! in a test.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::failure::Failure;
use super::protocol::Protocol;
use super::transport::Transport;

/// What carries the bytes of a connection: a socket, or memory in a test. Calls never wait: they
/// fail with `WouldBlock`.
pub(crate) trait Wire {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&self, data: &[u8]) -> io::Result<usize>;
    fn close_write(&self) -> io::Result<()>;
    /// Makes the peer see an error (RST) instead of an end when this is dropped.
    fn reset(&self);
}

impl Wire for TcpStream {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn close_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset(&self) {
        // `man 7 socket`: a socket that does not linger is closed by an RST. Fails for no socket.
        let at_once = linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(self, sockopt::Linger, &at_once);
    }
}

/// What a connection waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    For { read: bool, write: bool },
    Over,
}

/// A wire, its protocol, and what the protocol wants: the part of a connection that is the same for
/// a socket in the reactor and for memory in a test.
pub(crate) struct Connection<W> {
    pub(crate) wire: W,
    pub(crate) transport: Transport,
    protocol: RefCell<Box<dyn Protocol>>,
}

impl<W: Wire> Connection<W> {
    pub(crate) fn new(wire: W, transport: Transport, protocol: Box<dyn Protocol>) -> Connection<W> {
        transport.0.marked.set(false); // an earlier mark found no connection in the reactor
        transport.mark();
        Connection { wire, transport, protocol: RefCell::new(protocol) }
    }

    /// Tells a protocol that there is no connection and never was.
    pub(crate) fn never(transport: &Transport, mut protocol: Box<dyn Protocol>, why: io::Error) {
        transport.set_timeout(None);
        transport.end(Ok(()));
        // A panic has no connection to close.
        let told = catch_unwind(AssertUnwindSafe(|| protocol.connection_failed(why)));
        drop(told);
    }

    pub(crate) fn is_made(&self) -> bool {
        self.transport.0.connected.get()
    }

    /// The connection is there: tells the protocol.
    pub(crate) fn made(&self) {
        self.transport.set_timeout(None); // the one for connecting
        self.transport.0.connected.set(true);
        self.transport.mark();
        self.tell(<dyn Protocol>::connection_made);
    }

    /// It may be readable: reads once, so that no connection delays the others.
    pub(crate) fn readable(&self, buffer: &mut [u8]) {
        let channel = &*self.transport.0;
        if channel.paused.get()
            || channel.losing.get()
            || channel.read_closed.get()
            || self.transport.is_over()
        {
            return;
        }
        match self.wire.receive(buffer) {
            Ok(0) => {
                channel.read_closed.set(true);
                self.transport.mark();
                self.tell(<dyn Protocol>::read_connection_lost);
            }
            Ok(n) => {
                self.tell(|protocol, transport| protocol.data_received(transport, &buffer[..n]));
            }
            Err(error) if is_for_later(&error) => {}
            Err(error) => self.transport.fail_connection(error),
        }
    }

    /// Does what was requested since the last call: sends, closes, calls the protocol. Returns what
    /// the connection waits for then.
    pub(crate) fn settle(&self) -> Waits {
        let channel = &*self.transport.0;
        channel.marked.set(false);
        if channel.timed_out.take() && !self.transport.is_over() {
            if channel.connected.get() {
                self.tell(<dyn Protocol>::timeout_connection);
            } else {
                self.transport.fail_connection(io::ErrorKind::TimedOut.into());
            }
        }
        if channel.connected.get() && !self.transport.is_over() {
            if channel.resumed.take() && !channel.paused.get() && !channel.losing.get() {
                self.tell(<dyn Protocol>::reading_resumed);
            }
            if channel.tell_protocol.take() {
                self.tell(<dyn Protocol>::pause_producing);
            }
            match self.send() {
                Err(error) => self.transport.fail_connection(error),
                Ok(()) if self.transport.buffered() == 0 => self.all_sent(),
                Ok(()) => {}
            }
        } else if channel.losing.get() {
            self.transport.abort_connection(); // before it was made
        }
        if self.transport.is_over() {
            return Waits::Over;
        }
        let read = !channel.paused.get() && !channel.losing.get() && !channel.read_closed.get();
        Waits::For {
            read: read && channel.connected.get(),
            write: self.transport.buffered() > 0 || !channel.connected.get(),
        }
    }

    /// Tells the protocol why the connection is over: its last event.
    pub(crate) fn lost(&self) {
        let channel = &*self.transport.0;
        self.transport.set_timeout(None);
        let reason = self.transport.take_reason();
        if reason.is_err() {
            self.wire.reset();
        }
        self.transport.tell_producer(|producer| producer.stop_producing());
        self.transport.unregister_producer();
        let was_connected = channel.connected.replace(false);
        self.tell(|protocol, _| match reason {
            Err(error) if !was_connected => protocol.connection_failed(error),
            reason => protocol.connection_lost(reason),
        });
        // The protocol often owns a clone of the transport, so the transport may exist longer. What
        // was not sent is dropped now.
        channel.output.take();
        channel.sent.set(0);
    }

    fn send(&self) -> io::Result<()> {
        let channel = &*self.transport.0;
        // Taken out while the wire has it: nothing is borrowed during a call.
        let mut output = channel.output.take();
        let mut sent = channel.sent.take();
        let result = loop {
            if sent == output.len() {
                (output, sent) = (Vec::new(), 0); // an idle connection keeps no buffer
                break Ok(());
            }
            match self.wire.send(&output[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if sent > output.len() / 2 {
            output.drain(..sent);
            sent = 0;
        }
        channel.output.replace(output);
        channel.sent.set(sent);
        result
    }

    fn all_sent(&self) {
        let channel = &*self.transport.0;
        if channel.producer_paused.take() {
            channel.producer_resumed.set(true);
            self.transport.tell_producer(|producer| producer.resume_producing());
            self.tell(<dyn Protocol>::resume_producing);
            if self.transport.buffered() > 0 || self.transport.is_over() {
                return;
            }
        }
        let producer = channel.producer.borrow().clone();
        let more = producer.is_some_and(|it| channel.producer_resumed.get() && !it.finished());
        if more {
            return; // it was resumed, and writes a little later
        }
        if channel.losing.get() {
            self.transport.end(Ok(()));
        } else if channel.write_closing.get()
            && !channel.write_closed.replace(true)
            && let Err(error) = self.wire.close_write()
        {
            self.transport.fail_connection(error);
        }
    }

    fn tell(&self, event: impl FnOnce(&mut dyn Protocol, &Transport)) {
        let mut protocol = self.protocol.borrow_mut();
        let told = catch_unwind(AssertUnwindSafe(|| {
            event(&mut **protocol, &self.transport);
        }));
        if let Err(panic) = told {
            let reason = io::Error::other(Failure::panicked(panic).to_string());
            self.transport.fail_connection(reason);
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}
