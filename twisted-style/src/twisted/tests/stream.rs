//! An `async` block learns from a [`Stream`] what a protocol learns from its methods.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::twisted::failure::Failure;
use crate::twisted::inline::inline_callbacks;
use crate::twisted::reactor::Reactor;
use crate::twisted::stream::Stream;
use crate::twisted::tcp::READ;

/// A safety timeout.
const DEADLINE: Duration = Duration::from_secs(30);

/// Connects to a peer in a thread, which does `peer`, and runs `script` with the stream.
fn with_peer<T: 'static, F>(
    peer: impl FnOnce(TcpStream) + Send + 'static,
    script: impl FnOnce(Stream, Reactor) -> F + 'static,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>> + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let thread = thread::spawn(move || peer(listener.accept().expect("a connection").0));
    let reactor = Reactor::new().expect("a few descriptors");
    let connected = Stream::connect(&reactor, address, DEADLINE);
    let clock = reactor.clone();
    let block = async move { script(connected.await?, clock).await };
    let result = reactor.run_until(inline_callbacks(block));
    thread.join().expect("the peer does not panic");
    result
}

#[test]
fn a_read_fires_with_what_has_arrived_and_with_nothing_at_the_end() {
    let echo = |mut peer: TcpStream| {
        let mut buf = [0; 5];
        peer.read_exact(&mut buf).expect("five bytes");
        peer.write_all(&buf).expect("the stream reads");
    };
    let result = with_peer(echo, async |stream, _| {
        stream.write(b"hello");
        let mut received = Vec::new();
        loop {
            let bytes = stream.read().await?;
            if bytes.is_empty() {
                let again = stream.read().await?;
                return Ok((received, again));
            }
            received.extend(bytes);
        }
    });
    assert_eq!(result.expect("no error"), (b"hello".to_vec(), Vec::new()));
}

#[test]
fn nothing_is_read_from_the_socket_between_two_reads() {
    const SENT: usize = 32 << 20; // more than the kernel buffers
    let flood = |mut peer: TcpStream| peer.write_all(&vec![b'x'; SENT]).expect("the stream reads");
    let (most, sent) = with_peer(flood, async |stream, reactor| {
        let (mut most, mut sent) = (0, 0);
        loop {
            let n = stream.read().await?.len();
            if n == 0 {
                return Ok((most, sent));
            }
            (most, sent) = (most.max(n), sent + n);
            // Turns of the reactor in which it could read on.
            for _ in 0..3 {
                reactor.defer_later(Duration::ZERO).await?;
            }
        }
    })
    .expect("no error");
    assert_eq!(sent, SENT);
    assert!(most <= READ, "{most} bytes at once");
}

#[test]
fn an_error_of_the_connection_is_the_error_of_the_read() {
    let (tell, told) = std::sync::mpsc::channel();
    let silent = move |peer: TcpStream| {
        told.recv().expect("the script tells");
        drop(peer);
    };
    let result = with_peer(silent, async move |stream, _| {
        stream.set_timeout(Some(Duration::from_millis(1)));
        let read = stream.read().await;
        tell.send(()).expect("the peer waits");
        read
    });
    let error = io::Error::from(result.expect_err("a timeout"));
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn dropping_it_closes_the_connection() {
    let (tell, told) = std::sync::mpsc::channel();
    let waits_for_the_end = move |mut peer: TcpStream| {
        let n = peer.read(&mut [0; 8]).expect("the end is no error");
        tell.send(n).expect("the script waits");
    };
    let n = with_peer(waits_for_the_end, async move |stream, _| {
        drop(stream);
        Ok(())
    });
    n.expect("no error");
    assert_eq!(told.recv().expect("the peer tells"), 0);
}

#[test]
fn a_second_read_replaces_the_first() {
    let (tell, told) = std::sync::mpsc::channel();
    let silent = move |peer: TcpStream| {
        told.recv().expect("the script tells");
        drop(peer);
    };
    let result = with_peer(silent, async move |stream, _| {
        let first = stream.read();
        let second = stream.read();
        let failed = first.await.is_err();
        tell.send(()).expect("the peer waits");
        second.await?;
        Ok(failed)
    });
    assert!(result.expect("no error"));
}

#[test]
fn a_connection_that_cannot_be_made_fails() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let reactor = Reactor::new().expect("a few descriptors");
    let refused = reactor.run_until(Stream::connect(&reactor, address, DEADLINE));
    let error = io::Error::from(refused.err().expect("the port is free"));
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
