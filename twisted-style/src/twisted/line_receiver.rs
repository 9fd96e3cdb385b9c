//! Lines: `twisted.protocols.basic.LineReceiver`.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;

use super::protocol::Protocol;
use super::transport::Transport;

/// A protocol of lines (`twisted.protocols.basic.LineReceiver`). Twisted's subclass is a value
/// here, and [`LineReceiver`] makes it a [`Protocol`].
pub trait LineProtocol: 'static {
    /// The end of a line; it is not part of the line.
    const DELIMITER: &'static [u8] = b"\r\n";
    /// The longest line, in bytes.
    const MAX_LENGTH: usize = 16_384;

    /// The connection is there.
    fn connection_made(&mut self, _lines: &Lines) {}

    /// A line has arrived.
    fn line_received(&mut self, lines: &Lines, line: &[u8]);

    /// Bytes have arrived in raw mode.
    fn raw_data_received(&mut self, _lines: &Lines, _data: &[u8]) {}

    /// A line is too long: its beginning, and all that has arrived with it. By default the
    /// connection is closed.
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

    /// See [`Protocol::read_connection_lost`].
    fn read_connection_lost(&mut self, lines: &Lines) {
        lines.lose_connection();
    }

    /// See [`Protocol::connection_lost`].
    fn connection_lost(&mut self, _reason: io::Result<()>) {}

    /// See [`Protocol::connection_failed`].
    fn connection_failed(&mut self, reason: io::Error) {
        self.connection_lost(Err(reason));
    }
}

/// How a [`LineProtocol`] answers: a transport, and a switch for what comes next.
pub struct Lines<'a> {
    transport: &'a Transport,
    delimiter: &'static [u8],
    mode: &'a Mode,
}

#[derive(Default)]
struct Mode {
    raw: Cell<bool>,
    /// Bytes to read as lines, after those that have already arrived.
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

    /// Switches back to lines, beginning with `rest`: the data that `raw_data_received` did not
    /// use.
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
    /// How many bytes of the buffer have been searched for the end of a line already.
    searched: usize,
}

impl<P: LineProtocol> LineReceiver<P> {
    /// Around `protocol`.
    pub fn new(protocol: P) -> LineReceiver<P> {
        const { assert!(!P::DELIMITER.is_empty(), "a delimiter is not empty") };
        LineReceiver { protocol, mode: Mode::default(), buffer: Vec::new(), searched: 0 }
    }

    /// Calls the protocol, and takes the bytes that it wants read as lines.
    fn tell(&mut self, transport: &Transport, event: impl FnOnce(&mut P, &Lines)) {
        event(&mut self.protocol, &Lines { transport, delimiter: P::DELIMITER, mode: &self.mode });
        self.buffer.append(&mut self.mode.rest.borrow_mut());
    }

    /// The same when nothing has arrived: the bytes that the protocol wants read as lines are
    /// passed on now.
    fn tell_and_deliver(&mut self, transport: &Transport, event: impl FnOnce(&mut P, &Lines)) {
        let before = self.buffer.len();
        self.tell(transport, event);
        if self.buffer.len() > before {
            self.deliver(transport);
        }
    }

    /// Passes on complete lines, until the protocol closes the connection or pauses it.
    fn deliver(&mut self, transport: &Transport) {
        let mut begin = 0; // of the bytes that have not been passed on
        while transport.connected() && !transport.reading_paused() {
            if self.mode.raw.get() {
                let data = self.buffer.split_off(begin);
                self.buffer.clear();
                self.searched = 0;
                begin = 0;
                if data.is_empty() {
                    break;
                }
                self.tell(transport, |protocol, lines| protocol.raw_data_received(lines, &data));
                continue;
            }
            let mut ends = self.buffer[self.searched..].windows(P::DELIMITER.len());
            let end = ends.position(|bytes| bytes == P::DELIMITER).map(|at| self.searched + at);
            let Some(end) = end else {
                // The last bytes may be the beginning of a delimiter.
                let known = (self.buffer.len() + 1).saturating_sub(P::DELIMITER.len());
                self.searched = known.max(begin);
                if self.buffer.len() - begin >= P::MAX_LENGTH + P::DELIMITER.len() {
                    self.exceeded(transport, begin);
                    begin = 0;
                    continue;
                }
                break;
            };
            if end - begin > P::MAX_LENGTH {
                self.exceeded(transport, begin);
                begin = 0;
                continue;
            }
            let line = begin..end;
            begin = end + P::DELIMITER.len();
            self.searched = begin;
            let lines = Lines { transport, delimiter: P::DELIMITER, mode: &self.mode };
            self.protocol.line_received(&lines, &self.buffer[line]);
            self.buffer.append(&mut self.mode.rest.borrow_mut());
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
        self.tell_and_deliver(transport, P::connection_made);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        self.deliver(transport);
    }

    fn reading_resumed(&mut self, transport: &Transport) {
        self.deliver(transport);
    }

    fn timeout_connection(&mut self, transport: &Transport) {
        self.tell_and_deliver(transport, P::timeout_connection);
    }

    fn pause_producing(&mut self, transport: &Transport) {
        self.tell_and_deliver(transport, P::pause_producing);
    }

    fn resume_producing(&mut self, transport: &Transport) {
        self.tell_and_deliver(transport, P::resume_producing);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.tell_and_deliver(transport, P::read_connection_lost);
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        self.protocol.connection_lost(reason);
    }
    fn connection_failed(&mut self, reason: io::Error) {
        self.protocol.connection_failed(reason);
    }
}
