use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{complete, event_loop, sockets_of, turns};
use crate::asyncio::event_loop::EventLoop;
use crate::asyncio::exceptions::Exception;
use crate::asyncio::streams::{LIMIT, Stream};
use crate::asyncio::transports::{Protocol, Transport};

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A stream, and the socket at its other end.
fn pair(event_loop: &EventLoop) -> (std::rc::Rc<Stream>, TcpStream) {
    let (listener, address) = listen();
    let connects = event_loop.clone();
    let stream = complete(event_loop, async move {
        connects.open_connection(address).await.map(std::rc::Rc::new)
    });
    (stream.unwrap().unwrap(), listener.accept().unwrap().0)
}

#[test]
fn coroutines_and_protocols_speak_on_the_same_loop() {
    struct Echo(Option<Transport>);
    impl Protocol for Echo {
        fn connection_made(&mut self, transport: &Transport) {
            self.0 = Some(transport.clone());
        }
        fn data_received(&mut self, data: &[u8]) {
            self.0.as_ref().expect("made first").write(data);
        }
        fn connection_lost(&mut self, _error: Option<io::Error>) {}
    }
    let event_loop = event_loop();
    let (listener, address) = listen();
    let server = event_loop.create_server(listener, || Echo(None)).unwrap();
    let connects = event_loop.clone();
    let result = complete(&event_loop, async move {
        let stream = connects.open_connection(address).await?;
        // More than a socket takes at once, so that the transport has to wait for it.
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        stream.write(&sent);
        let (mut got, mut buf) = (Vec::new(), vec![0; 100_000]);
        while got.len() < sent.len() {
            let n = stream.read(&mut buf).await?;
            got.extend_from_slice(&buf[..n]);
        }
        Ok::<_, Exception>(got == sent)
    });
    assert!(matches!(result, Ok(Ok(true))));
    server.close();
}

#[test]
fn a_refused_connection_is_an_exception_of_open_connection() {
    let event_loop = event_loop();
    let (listener, address) = listen();
    drop(listener);
    let connects = event_loop.clone();
    let said = complete(&event_loop, async move {
        connects.open_connection(address).await.err().map(|error| error.to_string())
    });
    assert!(said.unwrap().unwrap().contains("refused"));
}

#[test]
fn a_cancelled_open_connection_leaves_no_socket() {
    for after in 0..5 {
        let event_loop = event_loop();
        let (listener, address) = listen();
        let connects = event_loop.clone();
        let task = event_loop
            .create_task(async move { connects.open_connection(address).await.map(drop) });
        turns(&event_loop, after);
        task.cancel();
        turns(&event_loop, 2);
        listener.set_nonblocking(true).unwrap();
        while listener.accept().is_ok() {}
        assert_eq!(sockets_of(address.port()), 1, "the listener, after {after} turns");
    }
}

#[test]
fn a_stream_can_be_written_after_the_peer_has_sent_all() {
    let event_loop = event_loop();
    let (stream, mut peer) = pair(&event_loop);
    peer.write_all(b"all").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    complete(&event_loop, async move {
        let mut buf = [0; 10];
        assert_eq!(stream.read(&mut buf).await.unwrap(), 3);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
        stream.write(b"answer");
        stream.drain().await.unwrap();
    })
    .unwrap();
    turns(&event_loop, 3);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}

#[test]
fn a_second_read_at_the_same_time_is_an_error_and_the_first_goes_on() {
    let event_loop = event_loop();
    let (stream, mut peer) = pair(&event_loop);
    let (first, second, third) = (stream.clone(), stream.clone(), stream);
    let reading = event_loop.create_task(async move { first.read(&mut [0; 4]).await });
    let refused = complete(&event_loop, async move { second.read(&mut [0; 4]).await });
    assert!(matches!(refused.unwrap(), Err(Exception::Raised(_))));
    peer.write_all(b"four").unwrap();
    assert_eq!(event_loop.run_until_complete(&reading).unwrap().unwrap(), 4);
    // A read that was cancelled is not in the way.
    let cancelled = third.clone();
    let reading = event_loop.create_task(async move { cancelled.read(&mut [0; 4]).await });
    turns(&event_loop, 1);
    reading.cancel();
    peer.write_all(b"two").unwrap();
    let read = complete(&event_loop, async move { third.read(&mut [0; 4]).await });
    assert_eq!(read.unwrap().unwrap(), 3);
}

#[test]
fn an_unread_stream_stops_at_its_limit() {
    let event_loop = event_loop();
    let (stream, mut peer) = pair(&event_loop);
    peer.set_nonblocking(true).unwrap();
    let (chunk, mut sent) = (vec![b'x'; LIMIT], 0);
    // Until the socket takes no more, and the loop reads no more from it.
    let mut idle = 0;
    while idle < 100 {
        match peer.write(&chunk) {
            Ok(n) => (sent, idle) = (sent + n, 0),
            Err(_) => idle += 1,
        }
        turns(&event_loop, 1);
    }
    assert!(stream.buffered() <= 2 * LIMIT + common::limits::BUFFER, "{}", stream.buffered());
    assert!(sent > 2 * LIMIT, "the socket was filled");
    peer.set_nonblocking(false).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let read = complete(&event_loop, async move {
        let (mut read, mut buf) = (0, vec![0; LIMIT]);
        loop {
            match stream.read(&mut buf).await? {
                0 => return Ok::<_, Exception>(read),
                n => read += n,
            }
        }
    });
    assert_eq!(read.unwrap().unwrap(), sent);
}

#[test]
fn drain_waits_until_the_peer_has_taken_enough() {
    let event_loop = event_loop();
    let (stream, mut peer) = pair(&event_loop);
    let (writes, waits) = (stream.clone(), event_loop.clone());
    let drained = event_loop.create_task(async move {
        writes.drain().await?; // nothing was written
        writes.write(&vec![0; 20_000_000]);
        writes.drain().await
    });
    turns(&event_loop, 20);
    assert!(!drained.done(), "the peer has read nothing");
    let reads = std::thread::spawn(move || {
        let mut read = Vec::new();
        peer.read_to_end(&mut read)
    });
    event_loop.run_until_complete(&drained).unwrap().unwrap();
    drop(stream);
    let read = complete(&event_loop, async move {
        while !reads.is_finished() {
            waits.sleep(Duration::from_millis(1)).await.unwrap();
        }
        std::rc::Rc::new(reads.join().unwrap())
    });
    assert_eq!(*read.unwrap().as_ref().as_ref().unwrap(), 20_000_000);
}

#[test]
fn drain_reports_that_the_connection_was_lost() {
    let event_loop = event_loop();
    let (stream, peer) = pair(&event_loop);
    let writes = stream.clone();
    let drained = event_loop.create_task(async move {
        writes.write(&vec![0; 20_000_000]);
        writes.drain().await
    });
    turns(&event_loop, 5);
    drop(peer);
    event_loop.run_until_complete(&drained).unwrap().unwrap_err();
    let again = complete(&event_loop, async move {
        stream.write(b"more");
        stream.drain().await
    });
    again.unwrap().unwrap_err();
}

#[test]
fn a_lost_connection_wakes_the_reader() {
    let event_loop = event_loop();
    let (stream, peer) = pair(&event_loop);
    let reading = event_loop.create_task(async move { stream.read(&mut [0; 4]).await });
    turns(&event_loop, 1);
    drop(peer);
    assert_eq!(event_loop.run_until_complete(&reading).unwrap().unwrap(), 0);
}
