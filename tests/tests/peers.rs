//! Tests the suite of peers itself: a good server passes, and each fault is found.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::http::conn::{Conn, Wants};
use common::limits::Limits;
use common::partner::site::listener::listen;
use tests::peers::{self, Full};

/// What is wrong with a server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// One failed connection ends it.
    DiesOfAnError,
    /// It serves one connection after another.
    OneByOne,
    /// It closes after a refusal, without reading the rest of the request.
    DoesNotDrain,
    /// It closes instead of a refusal.
    RefusesInSilence,
    /// It waits for a peer without a limit.
    Patient,
    /// Each byte of a request renews its timeout.
    Forgetful,
    /// It takes what follows a request for a part of that request.
    NoPipeline,
    /// It gives the same page to every client.
    OnePage,
}

/// A minimal server, one thread per connection, in a thread of its own. Its timeouts are short.
fn start(fault: Fault, room: usize) -> SocketAddr {
    let short = Duration::from_secs(1);
    let limits = Limits { idle: short, request: short, write: short, ..Limits::new(room) };
    let listener = listen(0).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let open = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let too_many = open.fetch_add(1, Ordering::SeqCst) >= room;
            let conn = if too_many { Conn::too_many(limits) } else { Conn::new(limits) };
            let open = open.clone();
            let connection = thread::spawn(move || {
                let result = serve(socket, conn, fault, limits);
                open.fetch_sub(1, Ordering::SeqCst);
                result
            });
            if fault == Fault::OneByOne || fault == Fault::DiesOfAnError {
                let result = connection.join().expect("it catches its errors");
                if result.is_err() && fault == Fault::DiesOfAnError {
                    return;
                }
            }
        }
    });
    address
}

fn serve(mut socket: TcpStream, mut conn: Conn, fault: Fault, limits: Limits) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let timeout = match fault {
            Fault::Patient => None,
            Fault::Forgetful => Some(limits.request),
            _ => Some(conn.time_left()),
        };
        socket.set_read_timeout(timeout)?;
        socket.set_write_timeout(timeout)?;
        let refusal = conn.output().starts_with(b"HTTP/1.1 4");
        let result = match conn.wants() {
            Wants::Read => socket.read(&mut buf).map(|n| {
                let head = buf[..n].windows(4).position(|four| four == b"\r\n\r\n");
                match (fault, head) {
                    (Fault::NoPipeline, Some(end)) => conn.received(&buf[..end + 4]),
                    (Fault::OnePage, Some(_)) => {
                        conn.received(b"GET /page/1 HTTP/1.1\r\nhost: h\r\n\r\n");
                    }
                    _ => conn.received(&buf[..n]),
                }
            }),
            Wants::Write if refusal && fault == Fault::RefusesInSilence => return Ok(()),
            Wants::Write => socket.write(conn.output()).map(|n| conn.sent(n)),
            Wants::Wait => {
                thread::sleep(conn.time_left());
                Ok(())
            }
            Wants::ShutdownWrite if fault == Fault::DoesNotDrain => return Ok(()),
            Wants::ShutdownWrite => {
                let _ = socket.shutdown(Shutdown::Write);
                conn.write_shut();
                Ok(())
            }
            Wants::Close => return Ok(()),
        };
        match result {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            result => conn.done(result),
        }
    }
}

#[test]
fn a_good_server_passes() {
    let server = start(Fault::Nothing, 1000);
    assert_eq!(peers::slow(server, &|| Ok(())), [""; 0]);
    assert_eq!(peers::quick(server, 1000, &|| Ok(())), [""; 0]);
}

#[test]
fn a_dead_program_is_noticed() {
    let server = start(Fault::Nothing, 1000);
    let wrong = peers::quick(server, 1000, &|| Err("it is dead".into()));
    assert_eq!(wrong.len(), peers::GOOD.len() + peers::BAD.len() + 2);
}

#[test]
fn one_connection_too_many() {
    assert_eq!(peers::one_too_many(start(Fault::Nothing, 20), 20), Ok(Full::Told));
    // This one has more room than it should.
    assert!(peers::one_too_many(start(Fault::Nothing, 21), 20).is_err());
}

/// The suite must find this fault: these peers must report it.
fn found(fault: Fault, names: &[&str]) {
    for name in names {
        // A server that would wait forever is not waited for as long as a good one.
        let most = Duration::from_secs(3);
        let seen = peers::play(name, start(fault, 1000), most);
        assert!(seen.is_err(), "{name:?} sees nothing wrong");
    }
}

#[test]
fn faults_are_found() {
    found(Fault::DiesOfAnError, &["resets in a request", "resets in a long page"]);
    found(Fault::DoesNotDrain, &["sends a head of 40 kB", "sends a long body"]);
    found(Fault::RefusesInSilence, &["sends NUL bytes", "asks for unknown paths"]);
    found(Fault::NoPipeline, &["pipelines"]);
    found(Fault::OnePage, &["keeps alive", "names no host"]);
}

#[test]
fn faults_that_take_long_are_found() {
    let patient = || found(Fault::Patient, &["sends half a request"]);
    let forgetful = || found(Fault::Forgetful, &["drips a request"]);
    let one_by_one = || {
        let seen = peers::waiting_crowd(start(Fault::OneByOne, 10), 1, Duration::from_millis(500));
        assert!(seen.is_err(), "one by one, and no peer reports it");
    };
    thread::scope(|scope| {
        scope.spawn(patient);
        scope.spawn(forgetful);
        scope.spawn(one_by_one);
    });
}
