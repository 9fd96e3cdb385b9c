//! Messages between processes: their content and how they travel. (`multiprocessing.connection`)

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::child::retry;

/// The bytes of a value, exact to the last bit of a float, or why it cannot be sent. (In Python:
/// `pickle.dumps`)
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    postcard::to_stdvec(value).map_err(reason)
}

/// The value, or why its type cannot be sent: that is found only here, by the receiver.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(reason(postcard::Error::DeserializeBadEncoding)),
        Err(error) => Err(reason(error)),
    }
}

fn reason(error: postcard::Error) -> String {
    let reason = match error {
        postcard::Error::WontImplement => {
            "only the bytes could say what it is (an untagged enum, serde_json::Value)"
        }
        postcard::Error::SerializeSeqLengthUnknown => {
            "it does not say beforehand how long it is (serde's flatten)"
        }
        postcard::Error::SerdeSerCustom | postcard::Error::SerdeDeCustom => {
            "its own Serialize or Deserialize refuses"
        }
        // The same program wrote it, for the same type.
        _ => "it is not read as it was written (serde's skip_serializing_if)",
    };
    reason.to_owned()
}

/// A message in a stream: its length and its number, eight bytes each and little-endian, and then
/// its content. The number says which request an answer belongs to.
pub fn to_frame(number: u64, message: &[u8]) -> Vec<u8> {
    let length = message.len() as u64;
    [&length.to_le_bytes(), &number.to_le_bytes(), message].concat()
}

/// Puts frames together from pieces of any size.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    pub fn received(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Number and message of the oldest frame that has arrived completely.
    pub fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        let (length, rest) = self.bytes.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let length = u64::from_le_bytes(*length) as usize;
        let number = u64::from_le_bytes(*number);
        let message = rest.get(..length)?.to_vec();
        self.bytes.drain(..16 + length);
        Some((number, message))
    }

    /// Whether only a part of a frame has arrived. If its sender has ended, the frame is torn.
    pub fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }
}

/// Sends a message, and a descriptor with it if there is one, through a socket that keeps messages
/// separate. (In Python: `multiprocessing.reduction.send_handle`)
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    pass: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = encode(message).map_err(io::Error::other)?;
    let descriptors: Vec<RawFd> = pass.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() { &[] } else { &rights[..] };
    let slices = [IoSlice::new(&bytes)];
    retry(|| sendmsg::<()>(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None))?;
    Ok(())
}

/// Receives a message and the descriptor that came with it; `None` if the other side is gone. If
/// this process has no descriptor left, it receives the message without the descriptor.
#[expect(unsafe_code, reason = "a descriptor arrives as a number")]
pub fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = vec![0; 256 * 1024];
    let mut control = cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        // Not `retry`, because the received data borrows the buffers.
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut passed = None;
    if !message.flags.contains(MsgFlags::MSG_CTRUNC) {
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                for fd in descriptors {
                    // SAFETY: the kernel has just made this descriptor, and no other code knows it.
                    passed = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
    }
    let length = message.bytes;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((decode(&bytes[..length]).map_err(io::Error::other)?, passed)))
}
