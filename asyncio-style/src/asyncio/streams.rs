//! Connections for coroutines (`asyncio.streams`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::rc::Rc;

use super::event_loop::EventLoop;
use super::exceptions::Exception;
use super::futures::Future;
use super::transports::{Protocol, Transport};

impl EventLoop {
    /// Connects, and hands out what can be read and written by coroutines
    /// (`asyncio.open_connection`): a protocol that keeps what it is called with.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::create_connection`].
    pub async fn open_connection(&self, address: SocketAddr) -> Result<Stream, Exception> {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let protocol = StreamProtocol(Rc::clone(&inbox));
        let transport = self.create_connection(address, protocol).await?;
        Ok(Stream { event_loop: self.clone(), transport, inbox })
    }
}

/// A connection for coroutines (`asyncio.StreamReader` and `StreamWriter` in one). It is closed
/// when it is dropped.
pub struct Stream {
    event_loop: EventLoop,
    transport: Transport,
    inbox: Rc<RefCell<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    data: VecDeque<u8>,
    /// Set when nothing more will come: the peer closed, or the connection was lost.
    end: Option<Result<(), Exception>>,
    waiting: Option<Future<()>>,
}

impl Stream {
    /// Sends `data`.
    pub fn write(&self, data: &[u8]) {
        self.transport.write(data);
    }

    /// Waits for bytes, and puts as many into `buf` as are there; 0: the peer closed.
    ///
    /// # Errors
    ///
    /// The connection was lost.
    pub async fn read(&self, buf: &mut [u8]) -> Result<usize, Exception> {
        loop {
            let waiting = self.event_loop.create_future();
            {
                let mut inbox = self.inbox.borrow_mut();
                if !inbox.data.is_empty() {
                    // Reading from bytes in memory does not fail.
                    return Ok(inbox.data.read(buf).unwrap_or(0));
                }
                match &inbox.end {
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(())) => return Ok(0),
                    None => inbox.waiting = Some(waiting.clone()),
                }
            }
            waiting.await?;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.transport.close();
    }
}

struct StreamProtocol(Rc<RefCell<Inbox>>);

impl StreamProtocol {
    fn wake(&self) {
        let waiting = self.0.borrow_mut().waiting.take();
        if let Some(waiting) = waiting {
            waiting.set_result(());
        }
    }
}

impl Protocol for StreamProtocol {
    fn connection_made(&mut self, _transport: &Transport) {}

    fn data_received(&mut self, data: &[u8]) {
        self.0.borrow_mut().data.extend(data);
        self.wake();
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.0.borrow_mut().end = Some(error.map_or(Ok(()), |error| Err(error.into())));
        self.wake();
    }
}
