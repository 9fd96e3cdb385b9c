//! Protocols connected through memory: no socket, no time.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::twisted::clock::Clock;
use crate::twisted::io_pump::IoPump;
use crate::twisted::protocol::Protocol;
use crate::twisted::transport::{HIGH_WATER, Transport};

fn words(reason: io::Result<()>) -> String {
    reason.map_or_else(|error| format!("lost: {}", error.kind()), |()| "closed".to_string())
}

type Script = Box<dyn FnMut(&Transport, &[u8])>;

/// Sends something, notes what it receives, and does what a test wants.
pub struct Talker {
    says: &'static [u8],
    log: Log,
    on_data: Script,
}

impl Protocol for Talker {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.says);
    }
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.log.note(String::from_utf8_lossy(data));
        (self.on_data)(transport, data);
    }
    fn connection_lost(&mut self, reason: io::Result<()>) {
        self.log.note(words(reason));
    }
}

pub fn talker(
    says: &'static [u8],
    on_data: impl FnMut(&Transport, &[u8]) + 'static,
) -> (Talker, Log) {
    let log = Log::default();
    (Talker { says, log: log.clone(), on_data: Box::new(on_data) }, log)
}

const ROOM: usize = 1024;

pub fn pump(client: impl Protocol, server: impl Protocol) -> IoPump {
    IoPump::connect(client, server, &Clock::new(), ROOM)
}

#[test]
fn lose_connection_closes_when_everything_is_sent() {
    let (client, heard) = talker(b"hello", |_, _| {});
    let (server, served) = talker(b"", |transport, _| {
        transport.write(&[b'x'; 3 * ROOM]);
        transport.lose_connection();
        transport.write(b"and this");
        assert!(!transport.connected());
    });
    pump(client, server).flush();
    assert_eq!(served.taken(), ["hello", "closed"]);
    let heard = heard.taken();
    assert_eq!(heard.concat(), "x".repeat(3 * ROOM) + "and this" + "closed");
}

#[test]
fn abort_connection_closes_at_once_and_tells_both() {
    let (client, heard) = talker(b"hello", |_, _| {});
    let (server, served) = talker(b"", |transport, _| {
        transport.write(b"never sent");
        transport.abort_connection();
    });
    pump(client, server).flush();
    assert_eq!(served.taken(), ["hello", "lost: connection aborted"]);
    assert_eq!(heard.taken(), ["lost: connection reset"]);
}

#[test]
fn connection_lost_gets_the_first_reason() {
    let (client, _) = talker(b"hello", |_, _| {});
    let (server, served) = talker(b"", |transport, _| {
        transport.fail_connection(io::ErrorKind::InvalidData.into());
        transport.abort_connection();
        transport.lose_connection();
    });
    pump(client, server).flush();
    assert_eq!(served.taken(), ["hello", "lost: invalid data"]);
}

#[test]
fn a_half_closed_connection_still_carries_the_answer() {
    struct Server(Log);
    impl Protocol for Server {
        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            self.0.note(String::from_utf8_lossy(data));
        }
        fn read_connection_lost(&mut self, transport: &Transport) {
            transport.write(b"answer after the end");
            transport.lose_connection();
        }
    }
    struct Client(Log);
    impl Protocol for Client {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write(b"all of it");
            transport.lose_write_connection();
            transport.write(b", and this");
        }
        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            self.0.note(String::from_utf8_lossy(data));
        }
    }

    let (served, heard) = (Log::default(), Log::default());
    pump(Client(heard.clone()), Server(served.clone())).flush();
    assert_eq!(served.taken(), ["all of it, and this"]);
    assert_eq!(heard.taken(), ["answer after the end"]);
}

#[test]
fn a_paused_transport_receives_nothing_until_it_is_resumed() {
    let kept = Rc::new(RefCell::new(None));
    let keep = kept.clone();
    let (client, _) = talker(&[b'x'; 2 * ROOM], |_, _| {});
    let (server, served) = talker(b"", move |transport, _| {
        transport.pause_producing();
        *keep.borrow_mut() = Some(transport.clone());
    });
    let mut pump = pump(client, server);
    pump.flush();
    assert_eq!(served.taken().concat().len(), ROOM);
    let transport: Transport = kept.take().expect("it has received something");
    transport.resume_producing();
    pump.flush();
    assert_eq!(served.taken().concat().len(), ROOM);
}

#[test]
fn a_connection_that_is_its_own_producer_reads_no_faster_than_it_writes() {
    /// Answers each byte with many, and does not read until they are taken.
    struct Loud(Rc<Cell<usize>>);
    impl Protocol for Loud {
        fn connection_made(&mut self, transport: &Transport) {
            transport.register_producer(transport.clone());
        }
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(&vec![b'x'; data.len() * 100]);
            self.0.set(self.0.get().max(transport.buffered()));
        }
    }
    /// Reads nothing before it is told to.
    struct Slow(Rc<RefCell<Option<Transport>>>, Rc<Cell<usize>>);
    impl Protocol for Slow {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write(&vec![b'?'; 16 * ROOM]);
            transport.pause_producing();
            *self.0.borrow_mut() = Some(transport.clone());
        }
        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            self.1.set(self.1.get() + data.len());
        }
    }

    let (most, transport, received) = (Rc::default(), Rc::default(), Rc::default());
    let slow = Slow(Rc::clone(&transport), Rc::clone(&received));
    let mut pump = pump(slow, Loud(Rc::clone(&most)));
    pump.flush();
    assert_eq!(received.get(), 0);
    transport.borrow().as_ref().expect("connected").resume_producing();
    pump.flush();
    assert_eq!(received.get(), 16 * ROOM * 100);
    assert!(most.get() <= HIGH_WATER + 100 * ROOM, "kept {} bytes", most.get());
}

#[test]
fn a_timeout_expires_unless_it_is_set_again() {
    struct Patient(Log);
    impl Protocol for Patient {
        fn connection_made(&mut self, transport: &Transport) {
            transport.set_timeout(Some(Duration::from_secs(3)));
        }
        fn data_received(&mut self, transport: &Transport, _: &[u8]) {
            transport.set_timeout(Some(Duration::from_secs(3)));
        }
        fn connection_lost(&mut self, reason: io::Result<()>) {
            self.0.note(words(reason));
        }
    }

    let (clock, log) = (Clock::new(), Log::default());
    let (client, _) = talker(b"", |_, _| {});
    let mut pump = IoPump::connect(client, Patient(log.clone()), &clock, ROOM);
    pump.flush();
    clock.advance(Duration::from_secs(2));
    pump.flush();
    assert!(log.taken().is_empty());
    clock.advance(Duration::from_secs(1));
    pump.flush();
    assert_eq!(log.taken(), ["lost: timed out"]);
    assert_eq!(clock.next(), None);
}

#[test]
fn a_panic_is_the_reason_of_the_lost_connection() {
    let (client, _) = talker(b"hello", |_, _| {});
    let (server, served) = talker(b"", |_, _| panic!("on purpose"));
    pump(client, server).flush();
    assert_eq!(served.taken(), ["hello", "lost: other error"]);
}
