//! `Numbering` sends each line back with its number in front, once the line is complete: "ann\n"
//! comes back as "1 ann\n". It should not matter where the bytes are cut in transit.
//! What was wrong: it took the bytes that arrived at once for one line. But lines arrive in parts,
//! or several at once.
//! Claim W2, slide 33: protocols, lines. The documentation of `Protocol.dataReceived` warns of this
//! bug: a part of a message may come, or several; Twisted has `LineReceiver` for it.

use crate::twisted::protocol::Protocol;
use crate::twisted::transport::Transport;

#[derive(Default)]
pub struct Numbering {
    lines: usize,
    /// The beginning of a line.
    buffer: Vec<u8>,
}

impl Protocol for Numbering {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        for &byte in data {
            self.buffer.push(byte);
            if byte == b'\n' {
                self.lines += 1;
                transport.write(format!("{} ", self.lines).as_bytes());
                transport.write(&self.buffer);
                self.buffer.clear();
            }
        }
    }
}
