//! `records` reads records of four bytes until the peer closes, and answers pings meanwhile. No
//! byte should get lost, no matter how the peer sends and when a ping comes.
//! What was wrong: a ping dropped the future of `read_exact`, and so the count of the bytes that
//! were already read. Now the count outlives each race.
//! The bug: tokio's documentation of `select!`, "Cancellation safety", lists `read_exact`.
//! asyncio's `readexactly` loses nothing: its bytes stay in the reader, not in the coroutine.

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
    let (mut record, mut filled) = ([0; 4], 0);
    loop {
        let read = select! {
            read = socket.read(&mut record[filled..]) => read,
            Some(ping) = pings.recv() => {
                let _ = ping.send(()); // an error: the answer is no longer wanted
                continue;
            }
        };
        match read {
            Ok(0) | Err(_) => return records,
            Ok(n) => filled += n,
        }
        if filled == record.len() {
            records.push(record);
            filled = 0;
        }
    }
}
