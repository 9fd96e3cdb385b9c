//! Messages between processes. (`multiprocessing.connection`)

use serde::Serialize;

/// A message as it travels: its length in four bytes, little-endian, and its JSON, which `strace`
/// shows in plain text.
pub fn to_frame<T: Serialize>(message: &T) -> serde_json::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4)
        .map_err(|_| serde::ser::Error::custom("it is longer than 4 GiB"))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Puts frames together again from pieces of any size.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    pub fn received(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The JSON of the oldest frame that has arrived as a whole.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let frame = rest.get(..length)?.to_vec();
        self.bytes.drain(..4 + length);
        Some(frame)
    }

    /// Whether part of a frame is there and the rest is not. If its sender has ended, it is torn.
    pub fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }
}
