//! How a protocol answers: Twisted's `ITransport`, and the producers that feed it
//! (`twisted.internet.interfaces`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::clock::{DelayedCall, ReactorTime};
use super::failure::Failure;

/// If more bytes than this wait to be sent, their producer is told to pause.
pub(super) const HIGH_WATER: usize = 64 * 1024;

/// Produces the bytes that a transport sends, if the protocol itself does not (`IPushProducer`). A
/// transport is the producer of the bytes that it receives.
pub trait Producer {
    /// Produce no more for now.
    fn pause_producing(&self);

    /// Go on.
    fn resume_producing(&self);

    /// Produce no more: the connection is closed.
    fn stop_producing(&self);

    /// Whether no more will come: then the connection can close without waiting for it.
    fn finished(&self) -> bool {
        false
    }
}

/// The keys of the connections that have something to do, shared with their reactor.
#[derive(Clone, Default)]
pub(crate) struct Changed(pub(super) Rc<RefCell<VecDeque<usize>>>);

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
pub struct Transport(pub(super) Rc<Channel>);

pub(super) struct Channel {
    pub(super) key: usize,
    pub(super) peer: SocketAddr,
    pub(super) clock: ReactorTime,
    pub(super) changed: Changed,
    /// Whether `key` is in `changed` already.
    pub(super) marked: Cell<bool>,
    pub(super) connected: Cell<bool>,
    /// Bytes to be sent; the first `sent` of them already are.
    pub(super) output: RefCell<Vec<u8>>,
    pub(super) sent: Cell<usize>,
    pub(super) paused: Cell<bool>,
    pub(super) resumed: Cell<bool>,
    pub(super) read_closed: Cell<bool>,
    pub(super) losing: Cell<bool>,
    pub(super) write_closing: Cell<bool>,
    pub(super) write_closed: Cell<bool>,
    /// Why the connection is over, once that is known.
    pub(super) over: RefCell<Option<io::Result<()>>>,
    pub(super) timeout: RefCell<Option<DelayedCall>>,
    pub(super) timed_out: Cell<bool>,
    /// If more bytes than this wait to be sent, the producer is told to pause.
    pub(super) high_water: Cell<usize>,
    pub(super) producer: RefCell<Option<Rc<dyn Producer>>>,
    /// The producer has been told to pause, and whether the protocol still has to be.
    pub(super) producer_paused: Cell<bool>,
    pub(super) tell_protocol: Cell<bool>,
    /// The producer has been told to resume, and nothing was written since.
    pub(super) producer_resumed: Cell<bool>,
}

impl Transport {
    pub(crate) fn new(
        key: usize,
        peer: SocketAddr,
        clock: ReactorTime,
        changed: Changed,
    ) -> Transport {
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
            producer_resumed: Cell::new(false),
        }))
    }

    /// Sends `data` after what was written before. Never waits: bytes that the peer does not accept
    /// yet are buffered, and everything written during one turn of the reactor is sent together.
    /// Data written after [`lose_connection`](Transport::lose_connection) is sent too, as long as
    /// the connection is open.
    pub fn write(&self, data: &[u8]) {
        let channel = &*self.0;
        if channel.write_closed.get() || self.is_over() || data.is_empty() {
            return;
        }
        channel.output.borrow_mut().extend_from_slice(data);
        channel.producer_resumed.set(false);
        self.mark();
        if self.buffered() > channel.high_water.get() && !channel.producer_paused.replace(true) {
            channel.tell_protocol.set(true);
            self.tell_producer(|producer| producer.pause_producing());
        }
    }

    /// How many bytes wait to be sent.
    pub fn buffered(&self) -> usize {
        self.0.output.borrow().len() - self.0.sent.get()
    }

    /// Closes the connection when everything written has been sent. A paused producer is resumed
    /// first, and what it then writes is sent too. A producer that writes later than that must be
    /// unregistered for the connection to close.
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

    /// Closes the connection now. What was not sent is lost, and the peer sees an error (RST), so
    /// that it does not take a part for the whole.
    pub fn abort_connection(&self) {
        self.fail_connection(io::ErrorKind::ConnectionAborted.into());
    }

    /// Closes the connection now, with this reason for `connection_lost`.
    pub fn fail_connection(&self, reason: io::Error) {
        self.end(Err(reason));
    }

    /// Stops reading: the peer is slowed down by its own full buffers.
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

    /// Whether reading is paused.
    pub fn reading_paused(&self) -> bool {
        self.0.paused.get()
    }

    /// Pauses `producer` when more is written than the peer accepts, resumes it when all has been
    /// sent, and stops it when the connection is over. With
    /// `transport.register_producer(transport.clone())` a server reads no more requests from a
    /// client that does not read its answers.
    ///
    /// # Panics
    /// There is a producer already.
    pub fn register_producer(&self, producer: impl Producer + 'static) {
        if self.is_over() {
            return producer.stop_producing();
        }
        let before = self.0.producer.replace(Some(Rc::new(producer)));
        assert!(before.is_none(), "a producer is registered already");
        if self.0.producer_paused.get() {
            self.tell_producer(|producer| producer.pause_producing());
        }
    }

    /// Calls `resume_producing` whenever all that was written has been sent: for a protocol that
    /// produces one piece at a time (`registerProducer(self, False)`, a pull producer).
    pub fn pull_producing(&self) {
        self.0.high_water.set(0);
    }

    /// Removes the producer.
    pub fn unregister_producer(&self) {
        let producer = self.0.producer.take();
        drop(producer);
        self.mark(); // a connection that is closing may have waited for it
    }

    /// Calls `timeout_connection` after this time, unless `set_timeout` is called again; `None`
    /// cancels it (`TimeoutMixin.setTimeout`).
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

    /// Whether there is a connection, and it is not being closed.
    pub fn connected(&self) -> bool {
        self.0.connected.get() && !self.0.losing.get() && !self.is_over()
    }

    /// Whether more may be read, now or when it is resumed.
    fn readable(&self) -> bool {
        self.connected() && !self.0.read_closed.get()
    }

    /// A panic of the producer is the error of the connection that it produces for.
    pub(super) fn tell_producer(&self, event: impl FnOnce(&dyn Producer)) {
        let producer = self.0.producer.borrow().clone();
        let Some(producer) = producer else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| event(&*producer))) {
            self.fail_connection(io::Error::other(Failure::panicked(panic).to_string()));
        }
    }

    pub(crate) fn key(&self) -> usize {
        self.0.key
    }

    /// The error, if it was cancelled before it was begun.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_over() { self.take_reason() } else { Ok(()) }
    }

    /// Why it is over. Only the first call gets the error.
    pub(super) fn take_reason(&self) -> io::Result<()> {
        self.0.over.replace(Some(Ok(()))).unwrap_or(Ok(()))
    }

    pub(crate) fn end(&self, reason: io::Result<()>) {
        self.0.over.borrow_mut().get_or_insert(reason);
        self.mark();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.over.borrow().is_some()
    }

    pub(super) fn mark(&self) {
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

    fn stop_producing(&self) {
        self.lose_connection();
    }

    fn finished(&self) -> bool {
        !self.readable()
    }
}
