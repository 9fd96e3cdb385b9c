//! What is said on a connection, apart from how it is carried: Twisted's `Protocol`, `Factory`
//! and `Transport` (`twisted.internet.protocol`, `twisted.internet.interfaces`).
//!
//! The reactor calls a [`Protocol`] when something has happened; the protocol answers through its
//! [`Transport`], whose methods only note what is wanted. The bytes move, and the connection
//! ends, when the protocol has returned: no method of a protocol is ever called inside another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::clock::{Clock, DelayedCall};
use crate::deferred::Failure;

/// Beyond so many bytes that wait to be sent, whoever produces them is told to pause.
const HIGH_WATER: usize = 64 * 1024;

/// One connection's side of the conversation. Python keeps the transport in `self.transport`;
/// here every method that can answer is handed it, and may keep a clone.
///
/// A panic in one of these is the error of its own connection, which is closed with it.
pub trait Protocol: 'static {
    /// The connection is there.
    fn connection_made(&mut self, _transport: &Transport) {}

    /// Some bytes have come: never none, and cut anywhere.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// The peer will send no more (`IHalfCloseableProtocol.readConnectionLost`). Unless a protocol
    /// has something left to say, the connection is closed.
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.lose_connection();
    }

    /// The time set by [`Transport::set_timeout`] has passed (`TimeoutMixin.timeoutConnection`).
    fn timeout_connection(&mut self, transport: &Transport) {
        transport.fail_connection(io::ErrorKind::TimedOut.into());
    }

    /// After [`Transport::pause_producing`] and `resume_producing`: bytes come again. For those who
    /// keep bytes of their own that they have not dealt with yet.
    fn reading_resumed(&mut self, _transport: &Transport) {}

    /// More is written than the peer takes: see [`Transport::buffered`].
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

/// Whoever produces what a transport sends, if it is not the protocol itself
/// (`IPushProducer`). A transport is the producer of what it receives.
pub trait Producer {
    /// Produce no more for now.
    fn pause_producing(&self);

    /// Go on.
    fn resume_producing(&self);
}

/// The keys of the connections on which something is to be done, shared with their reactor.
#[derive(Clone, Default)]
pub(crate) struct Changed(Rc<RefCell<VecDeque<usize>>>);

impl Changed {
    pub(crate) fn next(&self) -> Option<usize> {
        self.0.borrow_mut().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// What a protocol uses to answer (`ITransport`). A clone is another handle on the same
/// connection; when that is over, its methods do nothing.
#[derive(Clone)]
pub struct Transport(Rc<Channel>);

struct Channel {
    key: usize,
    peer: SocketAddr,
    clock: Clock,
    changed: Changed,
    /// Whether `key` is in `changed` already.
    marked: Cell<bool>,
    connected: Cell<bool>,
    /// Bytes to be sent; the first `sent` of them have been.
    output: RefCell<Vec<u8>>,
    sent: Cell<usize>,
    paused: Cell<bool>,
    resumed: Cell<bool>,
    read_closed: Cell<bool>,
    losing: Cell<bool>,
    write_closing: Cell<bool>,
    write_closed: Cell<bool>,
    /// Why the connection is over, once that is known.
    over: RefCell<Option<io::Result<()>>>,
    timeout: RefCell<Option<DelayedCall>>,
    timed_out: Cell<bool>,
    /// Beyond so many bytes that wait to be sent, the producer is told to pause.
    high_water: Cell<usize>,
    producer: RefCell<Option<Rc<dyn Producer>>>,
    /// The producer has been told to pause, and whether the protocol still has to be.
    producer_paused: Cell<bool>,
    tell_protocol: Cell<bool>,
}

impl Transport {
    pub(crate) fn new(key: usize, peer: SocketAddr, clock: Clock, changed: Changed) -> Transport {
        Transport(Rc::new(Channel {
            key,
            peer,
            clock,
            changed,
            marked: Cell::new(false),
            connected: Cell::new(false),
            output: RefCell::default(),
            sent: Cell::new(0),
            paused: Cell::new(false),
            resumed: Cell::new(false),
            read_closed: Cell::new(false),
            losing: Cell::new(false),
            write_closing: Cell::new(false),
            write_closed: Cell::new(false),
            over: RefCell::new(None),
            timeout: RefCell::new(None),
            timed_out: Cell::new(false),
            high_water: Cell::new(HIGH_WATER),
            producer: RefCell::new(None),
            producer_paused: Cell::new(false),
            tell_protocol: Cell::new(false),
        }))
    }

    /// Sends `data` after what was written before. Never waits: what the peer does not take yet
    /// is kept, and what is written during one turn of the reactor is sent at once.
    pub fn write(&self, data: &[u8]) {
        let channel = &*self.0;
        if channel.losing.get() || channel.write_closing.get() || self.is_over() || data.is_empty()
        {
            return;
        }
        channel.output.borrow_mut().extend_from_slice(data);
        self.mark();
        if self.buffered() > channel.high_water.get() && !channel.producer_paused.replace(true) {
            channel.tell_protocol.set(true);
            let producer = channel.producer.borrow().clone();
            if let Some(producer) = producer {
                producer.pause_producing();
            }
        }
    }

    /// How many bytes wait to be sent.
    pub fn buffered(&self) -> usize {
        self.0.output.borrow().len() - self.0.sent.get()
    }

    /// Closes the connection when everything written has been sent.
    pub fn lose_connection(&self) {
        self.0.losing.set(true);
        self.mark();
    }

    /// Sends what is written and then closes this direction only: the peer sees the end of the
    /// stream and can still answer (`ITCPTransport.loseWriteConnection`).
    pub fn lose_write_connection(&self) {
        self.0.write_closing.set(true);
        self.mark();
    }

    /// Closes the connection now; what was not sent is lost.
    pub fn abort_connection(&self) {
        self.fail_connection(io::ErrorKind::ConnectionAborted.into());
    }

    /// Closes the connection now, with this as the reason that `connection_lost` is told.
    pub fn fail_connection(&self, reason: io::Error) {
        self.end(Err(reason));
    }

    /// Reads no more: the peer is slowed down by its own full buffers.
    pub fn pause_producing(&self) {
        self.0.paused.set(true);
        self.mark();
    }

    /// Reads again.
    pub fn resume_producing(&self) {
        if self.0.paused.take() {
            self.0.resumed.set(true);
            self.mark();
        }
    }

    /// Whether nothing is to be read for now.
    pub fn reading_paused(&self) -> bool {
        self.0.paused.get()
    }

    /// Has `producer` told to pause when more is written than the peer takes, and to resume when
    /// all has been sent. `transport.register_producer(transport.clone())` on a server reads no
    /// more requests from a client that does not read its answers.
    pub fn register_producer(&self, producer: impl Producer + 'static) {
        let producer = Rc::new(producer);
        *self.0.producer.borrow_mut() = Some(producer.clone());
        if self.0.producer_paused.get() {
            producer.pause_producing();
        }
    }

    /// Has `resume_producing` called whenever all that was written has been sent: for a protocol
    /// that produces a piece, and the next when that is gone (`registerProducer(self, False)`, a
    /// pull producer).
    pub fn pull_producing(&self) {
        self.0.high_water.set(0);
    }

    /// Forgets the producer.
    pub fn unregister_producer(&self) {
        let producer = self.0.producer.take();
        drop(producer);
    }

    /// Has `timeout_connection` called when so much time has passed without another
    /// `set_timeout`; `None` takes it back (`TimeoutMixin.setTimeout`).
    pub fn set_timeout(&self, after: Option<Duration>) {
        self.0.timed_out.set(false);
        let mut timeout = self.0.timeout.borrow_mut();
        match after {
            Some(after) => {
                if !timeout.as_ref().is_some_and(|timer| timer.reset(after)) && !self.is_over() {
                    let channel = Rc::downgrade(&self.0);
                    *timeout = Some(self.0.clock.call_later(after, move || {
                        if let Some(channel) = channel.upgrade() {
                            channel.timed_out.set(true);
                            Transport(channel).mark();
                        }
                    }));
                }
            }
            None => {
                if let Some(timer) = timeout.take() {
                    timer.cancel();
                }
            }
        }
    }

    /// The address of the other side (`getPeer`).
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Whether there is a connection, and nobody has begun to close it.
    pub fn connected(&self) -> bool {
        self.0.connected.get() && !self.0.losing.get() && !self.is_over()
    }

    pub(crate) fn key(&self) -> usize {
        self.0.key
    }

    /// Takes the error with which it was called off before it was begun.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_over() { self.take_reason() } else { Ok(()) }
    }

    /// Why it is over. Only the first who asks is told the error.
    fn take_reason(&self) -> io::Result<()> {
        self.0.over.replace(Some(Ok(()))).unwrap_or(Ok(()))
    }

    pub(crate) fn end(&self, reason: io::Result<()>) {
        self.0.over.borrow_mut().get_or_insert(reason);
        self.mark();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.over.borrow().is_some()
    }

    fn mark(&self) {
        if !self.0.marked.replace(true) {
            self.0.changed.0.borrow_mut().push_back(self.0.key);
        }
    }
}

impl Producer for Transport {
    fn pause_producing(&self) {
        Transport::pause_producing(self);
    }

    fn resume_producing(&self) {
        Transport::resume_producing(self);
    }
}

/// What a connection is carried by: a socket, or memory in a test. Calls never wait, they fail
/// with `WouldBlock`.
pub(crate) trait Wire {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&self, data: &[u8]) -> io::Result<usize>;
    fn close_write(&self) -> io::Result<()>;
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
}

/// What a connection waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    For { read: bool, write: bool },
    Over,
}

/// A wire, the protocol that speaks on it and what that wants: the part of a connection that is
/// the same for a socket in the reactor and for memory in a test.
pub(crate) struct Connection<W> {
    pub(crate) wire: W,
    pub(crate) transport: Transport,
    protocol: RefCell<Box<dyn Protocol>>,
}

impl<W: Wire> Connection<W> {
    pub(crate) fn new(wire: W, transport: Transport, protocol: Box<dyn Protocol>) -> Connection<W> {
        transport.0.marked.set(false); // what was asked for earlier found nobody who does it
        transport.mark();
        Connection { wire, transport, protocol: RefCell::new(protocol) }
    }

    /// Tells a protocol that there is no connection and never was.
    pub(crate) fn never(transport: &Transport, mut protocol: Box<dyn Protocol>, why: io::Error) {
        transport.set_timeout(None);
        transport.end(Ok(()));
        // A panic has no connection left to end.
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

    /// There may be something to read: reads once, so that no connection keeps the others waiting.
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

    /// Does what has been asked for since the last time: sends, closes, tells the protocol. Says
    /// what the connection then waits for.
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

    /// Tells the protocol why the connection is over. The last that it hears.
    pub(crate) fn lost(&self) {
        let channel = &*self.transport.0;
        self.transport.set_timeout(None);
        self.transport.unregister_producer();
        let reason = self.transport.take_reason();
        let was_connected = channel.connected.replace(false);
        self.tell(|protocol, _| match reason {
            Err(error) if !was_connected => protocol.connection_failed(error),
            reason => protocol.connection_lost(reason),
        });
        // The protocol is likely to own a clone of the transport, but nothing owns the protocol
        // beside this connection: that goes now, and what was not sent with it.
        channel.output.take();
    }

    fn send(&self) -> io::Result<()> {
        let channel = &*self.transport.0;
        // Taken out while the wire has it: nothing stays borrowed during a call.
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
        if channel.losing.get() {
            self.transport.end(Ok(()));
            return;
        }
        if channel.write_closing.get()
            && !channel.write_closed.replace(true)
            && let Err(error) = self.wire.close_write()
        {
            self.transport.fail_connection(error);
            return;
        }
        if channel.producer_paused.take() {
            let producer = channel.producer.borrow().clone();
            if let Some(producer) = producer {
                producer.resume_producing();
            }
            self.tell(<dyn Protocol>::resume_producing);
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

/// A protocol of lines (`twisted.protocols.basic.LineReceiver`): Twisted's subclass is a value
/// here, which [`LineReceiver`] makes a [`Protocol`] of.
pub trait LineProtocol: 'static {
    /// What ends a line; it is not part of it.
    const DELIMITER: &'static [u8] = b"\r\n";
    /// A line may have so many bytes.
    const MAX_LENGTH: usize = 16_384;

    /// The connection is there.
    fn connection_made(&mut self, _lines: &Lines) {}

    /// A line has come.
    fn line_received(&mut self, lines: &Lines, line: &[u8]);

    /// Bytes have come in raw mode.
    fn raw_data_received(&mut self, _lines: &Lines, _data: &[u8]) {}

    /// A line is too long: its beginning, and all that has come with it. Unless a protocol knows
    /// better the connection is closed.
    fn line_length_exceeded(&mut self, lines: &Lines, _line: &[u8]) {
        lines.lose_connection();
    }

    /// See [`Protocol::timeout_connection`].
    fn timeout_connection(&mut self, lines: &Lines) {
        lines.fail_connection(io::ErrorKind::TimedOut.into());
    }

    /// See [`Protocol::pause_producing`].
    fn pause_producing(&mut self, _lines: &Lines) {}

    /// See [`Protocol::resume_producing`].
    fn resume_producing(&mut self, _lines: &Lines) {}

    /// See [`Protocol::connection_lost`].
    fn connection_lost(&mut self, _reason: io::Result<()>) {}
}

/// What a [`LineProtocol`] answers with: a transport, and a switch for what comes next.
pub struct Lines<'a> {
    transport: &'a Transport,
    delimiter: &'static [u8],
    mode: &'a Mode,
}

#[derive(Default)]
struct Mode {
    raw: Cell<bool>,
    /// What raw mode has left to be read as lines.
    rest: RefCell<Vec<u8>>,
}

impl Lines<'_> {
    /// Sends a line (`sendLine`).
    pub fn send_line(&self, line: &[u8]) {
        self.transport.write(line);
        self.transport.write(self.delimiter);
    }

    /// From the end of this line on, bytes go to `raw_data_received`.
    pub fn set_raw_mode(&self) {
        self.mode.raw.set(true);
    }

    /// Lines again, beginning with `rest`: what `raw_data_received` did not want of its data.
    pub fn set_line_mode(&self, rest: &[u8]) {
        self.mode.raw.set(false);
        self.mode.rest.borrow_mut().extend_from_slice(rest);
    }
}

impl Deref for Lines<'_> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        self.transport
    }
}

/// Cuts what is received into lines for a [`LineProtocol`].
pub struct LineReceiver<P> {
    protocol: P,
    mode: Mode,
    buffer: Vec<u8>,
    /// So much of the buffer is known to hold no end of a line: none is looked for twice.
    searched: usize,
}

impl<P: LineProtocol> LineReceiver<P> {
    /// Around `protocol`.
    pub fn new(protocol: P) -> LineReceiver<P> {
        const { assert!(!P::DELIMITER.is_empty(), "nothing ends no line") };
        LineReceiver { protocol, mode: Mode::default(), buffer: Vec::new(), searched: 0 }
    }

    fn tell(&mut self, transport: &Transport, event: impl FnOnce(&mut P, &Lines)) {
        event(&mut self.protocol, &Lines { transport, delimiter: P::DELIMITER, mode: &self.mode });
    }

    /// Hands on what is complete, until the protocol closes the connection or pauses it.
    fn deliver(&mut self, transport: &Transport) {
        let mut begin = 0; // of what has not been handed on
        while transport.connected() && !transport.reading_paused() {
            if self.mode.raw.get() {
                let data = self.buffer.split_off(begin);
                begin = 0;
                if !data.is_empty() {
                    self.tell(transport, |protocol, lines| {
                        protocol.raw_data_received(lines, &data);
                    });
                }
                self.buffer = self.mode.rest.take();
                self.searched = 0;
                if self.mode.raw.get() {
                    break;
                }
                continue;
            }
            let mut ends = self.buffer[self.searched..].windows(P::DELIMITER.len());
            let end = ends.position(|bytes| bytes == P::DELIMITER).map(|at| self.searched + at);
            let Some(end) = end else {
                // The last bytes may be the beginning of an end.
                let known = (self.buffer.len() + 1).saturating_sub(P::DELIMITER.len());
                self.searched = known.max(begin);
                if self.buffer.len() - begin >= P::MAX_LENGTH + P::DELIMITER.len() {
                    self.exceeded(transport, begin);
                    begin = 0;
                }
                break;
            };
            if end - begin > P::MAX_LENGTH {
                self.exceeded(transport, begin);
                begin = 0;
                break;
            }
            let line = begin..end;
            begin = end + P::DELIMITER.len();
            self.searched = begin;
            let lines = Lines { transport, delimiter: P::DELIMITER, mode: &self.mode };
            self.protocol.line_received(&lines, &self.buffer[line]);
        }
        self.buffer.drain(..begin);
        self.searched = self.searched.saturating_sub(begin);
    }

    fn exceeded(&mut self, transport: &Transport, begin: usize) {
        let line = self.buffer.split_off(begin);
        self.buffer.clear();
        self.searched = 0;
        self.tell(transport, |protocol, lines| protocol.line_length_exceeded(lines, &line));
    }
}

impl<P: LineProtocol> Protocol for LineReceiver<P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.tell(transport, P::connection_made);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        self.deliver(transport);
    }

    fn reading_resumed(&mut self, transport: &Transport) {
        self.deliver(transport);
    }

    fn timeout_connection(&mut self, transport: &Transport) {
        self.tell(transport, P::timeout_connection);
    }

    fn pause_producing(&mut self, transport: &Transport) {
        self.tell(transport, P::pause_producing);
    }

    fn resume_producing(&mut self, transport: &Transport) {
        self.tell(transport, P::resume_producing);
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        self.protocol.connection_lost(reason);
    }
}

/// Two protocols that speak with each other through memory (`twisted.test.iosim`): no socket, no
/// reactor, and nothing happens but in [`pump`](IoPump::pump).
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
}

struct Memory {
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
    /// A pipe holds so many bytes; then the sender waits, as with a socket.
    capacity: usize,
}

impl Wire for Memory {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.incoming.bytes.borrow_mut();
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
        clock: &impl AsRef<Clock>,
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

    /// One round: both do what they asked for, then both receive what is there for them. False
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

/// The aside that puts all of this to use.
pub mod chat;

#[cfg(test)]
mod tests;
