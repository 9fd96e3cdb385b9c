//! Connections for coroutines (`asyncio.streams`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::event_loop::EventLoop;
use super::exceptions::{Exception, RuntimeError};
use super::futures::Future;
use super::transports::{HIGH_WATER, Protocol, Transport};

/// The transport pauses reading if more than twice as many bytes are unread (`limit`).
pub const LIMIT: usize = 64 * 1024;

impl EventLoop {
    /// Connects, and returns a stream that coroutines can read and write
    /// (`asyncio.open_connection`): a protocol that stores what it receives.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::create_connection`].
    pub async fn open_connection(&self, address: SocketAddr) -> Result<Stream, Exception> {
        let stream = Stream { event_loop: self.clone(), inbox: Rc::default() };
        let protocol = StreamProtocol(Rc::clone(&stream.inbox));
        self.create_connection(address, protocol).await?;
        Ok(stream)
    }
}

/// A connection for coroutines (`asyncio.StreamReader` and `StreamWriter` in one). It is closed
/// when it is dropped; what was written is still sent.
pub struct Stream {
    event_loop: EventLoop,
    inbox: Rc<RefCell<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    transport: Option<Transport>,
    data: VecDeque<u8>,
    /// Set when no more will come: the peer closed, or the connection was lost.
    end: Option<Result<(), Exception>>,
    lost: bool,
    reader: Option<Future<()>>,
    writers: Vec<Future<()>>,
}

impl Stream {
    /// Sends `data`, or buffers it until the peer takes it. The buffer has no limit: use `drain`.
    pub fn write(&self, data: &[u8]) {
        if let Some(transport) = self.transport() {
            transport.write(data);
        }
    }

    /// Waits until so little is left to send that it makes sense to write more.
    ///
    /// # Errors
    ///
    /// The connection was lost.
    pub async fn drain(&self) -> Result<(), Exception> {
        let Some(transport) = self.transport() else { return Ok(()) };
        if transport.is_closing() {
            // Lets the loop report a lost connection, even to a task that only writes.
            self.event_loop.sleep(Duration::ZERO).await?;
        }
        let waiting = self.event_loop.create_future();
        {
            let mut inbox = self.inbox.borrow_mut();
            if let Some(Err(error)) = &inbox.end {
                return Err(error.clone());
            }
            if inbox.lost {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
            }
            if transport.get_write_buffer_size() <= HIGH_WATER {
                return Ok(());
            }
            inbox.writers.retain(|waiting| !waiting.done());
            inbox.writers.push(waiting.clone());
        }
        waiting.await
    }

    /// Waits for bytes, and puts as many as there are into `buf`; 0 means that the peer closed.
    ///
    /// # Errors
    ///
    /// The connection was lost; or another coroutine already waits here.
    pub async fn read(&self, buf: &mut [u8]) -> Result<usize, Exception> {
        loop {
            let waiting = self.event_loop.create_future();
            {
                let mut inbox = self.inbox.borrow_mut();
                if !inbox.data.is_empty() || buf.is_empty() {
                    // Reading from bytes in memory cannot fail.
                    let n = inbox.data.read(buf).unwrap_or(0);
                    let resumed = inbox.transport.clone().filter(|_| inbox.data.len() <= LIMIT);
                    drop(inbox);
                    if let Some(transport) = resumed {
                        transport.resume_reading();
                    }
                    return Ok(n);
                }
                match &inbox.end {
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(())) => return Ok(0),
                    None if inbox.reader.as_ref().is_some_and(|reader| !reader.done()) => {
                        return Err(RuntimeError("another coroutine waits to read already").into());
                    }
                    None => inbox.reader = Some(waiting.clone()),
                }
            }
            waiting.await?;
        }
    }

    /// How many bytes are unread.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.inbox.borrow().data.len()
    }

    fn transport(&self) -> Option<Transport> {
        self.inbox.borrow().transport.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(transport) = self.transport() {
            transport.close();
        }
    }
}

struct StreamProtocol(Rc<RefCell<Inbox>>);

impl StreamProtocol {
    fn wake_reader(&self) {
        let reader = self.0.borrow_mut().reader.take();
        if let Some(reader) = reader {
            reader.set_result(());
        }
    }

    fn wake_writers(&self, error: Option<&Exception>) {
        let writers = std::mem::take(&mut self.0.borrow_mut().writers);
        for writer in writers {
            match error {
                Some(error) => writer.set_exception(error.clone()),
                None => writer.set_result(()),
            }
        }
    }
}

impl Protocol for StreamProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.borrow_mut().transport = Some(transport.clone());
    }

    fn data_received(&mut self, data: &[u8]) {
        let mut inbox = self.0.borrow_mut();
        inbox.data.extend(data);
        let full = inbox.transport.clone().filter(|_| inbox.data.len() > 2 * LIMIT);
        drop(inbox);
        if let Some(transport) = full {
            transport.pause_reading();
        }
        self.wake_reader();
    }

    fn eof_received(&mut self) -> bool {
        self.0.borrow_mut().end = Some(Ok(()));
        self.wake_reader();
        true // it can still be written to
    }

    fn resume_writing(&mut self) {
        self.wake_writers(None);
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        let error = error.map(Exception::from);
        {
            let mut inbox = self.0.borrow_mut();
            inbox.lost = true;
            inbox.end = Some(error.clone().map_or(Ok(()), Err));
        }
        self.wake_reader();
        self.wake_writers(error.as_ref());
    }
}
