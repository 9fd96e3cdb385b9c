//! `records` reads records of four bytes until the peer closes, and answers pings meanwhile. No
//! byte should get lost, no matter how the peer sends and when a ping comes.
//! Hint: `select!` drops the future of the branch that came second. Where are the bytes that
//! `read_exact` had read by then? `read` either has read something or has not.
//! The bug: tokio's documentation of `select!`, "Cancellation safety", lists `read_exact`.
//! asyncio's `readexactly` loses nothing: its bytes stay in the reader, not in the coroutine.
//! Try it: `cargo test -p asyncio-style read_exact_raced -- --ignored`

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::select;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot::Sender;

/// A ping is answered through the sender that comes with it.
pub async fn records(
    mut socket: DuplexStream,
    mut pings: UnboundedReceiver<Sender<()>>,
) -> Vec<[u8; 4]> {
    let mut records = Vec::new();
    loop {
        let mut record = [0; 4];
        let read = select! {
            read = socket.read_exact(&mut record) => read,
            Some(ping) = pings.recv() => {
                let _ = ping.send(()); // an error: the answer is no longer wanted
                continue;
            }
        };
        match read {
            Ok(_) => records.push(record),
            Err(_) => return records,
        }
    }
}
