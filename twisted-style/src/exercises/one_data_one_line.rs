//! `Numbering` sends each line back with its number in front, once the line is complete: "ann\n"
//! comes back as "1 ann\n". It should not matter where the bytes are cut in transit.
//! Hint: TCP carries bytes, not messages. How many lines may `data` hold, and where may it end?
//! An incomplete line has to be kept.
//! Claim W2, slide 33: protocols, lines. The documentation of `Protocol.dataReceived` warns of this
//! bug: a part of a message may come, or several; Twisted has `LineReceiver` for it.
//! Try it: `cargo test -p twisted-style one_data_one_line -- --ignored`

use crate::twisted::protocol::Protocol;
use crate::twisted::transport::Transport;

#[derive(Default)]
pub struct Numbering {
    lines: usize,
}

impl Protocol for Numbering {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.lines += 1;
        transport.write(format!("{} ", self.lines).as_bytes());
        transport.write(data);
    }
}
