//! Producers for a connection, and how they end.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::*;
use crate::twisted::clock::Clock;
use crate::twisted::io_pump::IoPump;
use crate::twisted::protocol::Protocol;
use crate::twisted::transport::{Producer, Transport};

const ALL: usize = 300_000;
const PIECE: usize = 70_000;

/// Writes a piece whenever it may, until all are written.
struct Pieces {
    transport: Transport,
    left: Cell<usize>,
    log: Log,
}

impl Producer for Pieces {
    fn pause_producing(&self) {
        self.log.note("pause");
    }
    fn resume_producing(&self) {
        self.log.note("resume");
        let piece = PIECE.min(self.left.get());
        self.left.set(self.left.get() - piece);
        self.transport.write(&vec![b'x'; piece]);
        if self.left.get() == 0 {
            self.transport.unregister_producer();
        }
    }
    fn stop_producing(&self) {
        self.log.note("stop");
    }
}

/// Counts what it receives.
struct Sink(Rc<Cell<usize>>, Log);

impl Protocol for Sink {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.0.set(self.0.get() + data.len());
    }
    fn connection_lost(&mut self, reason: io::Result<()>) {
        self.1.note(reason.map_or_else(|error| error.kind().to_string(), |()| "closed".into()));
    }
}

/// Calls a function when it is connected.
struct OnMade<F>(F, Log);

impl<F: FnMut(&Transport) + 'static> Protocol for OnMade<F> {
    fn connection_made(&mut self, transport: &Transport) {
        (self.0)(transport);
    }
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    fn connection_lost(&mut self, reason: io::Result<()>) {
        self.1.note(reason.map_or_else(|error| error.to_string(), |()| "closed".into()));
    }
}

/// How many bytes the sink received, how it ended, and what the sender did.
fn pumped(on_made: impl FnMut(&Transport) + 'static) -> (usize, Vec<String>, Vec<String>) {
    let (received, end, own_end) = (Rc::new(Cell::new(0)), Log::default(), Log::default());
    let sink = Sink(received.clone(), end.clone());
    IoPump::connect(OnMade(on_made, own_end.clone()), sink, &Clock::new(), 4096).flush();
    (received.get(), end.taken(), own_end.taken())
}

#[test]
fn a_connection_to_be_closed_sends_what_its_paused_producer_still_has() {
    let log = Log::default();
    let noted = log.clone();
    let (received, end, _) = pumped(move |transport| {
        let (transport, left) = (transport.clone(), Cell::new(ALL));
        let pieces = Rc::new(Pieces { transport: transport.clone(), left, log: noted.clone() });
        transport.register_producer(Shared(pieces.clone()));
        pieces.resume_producing();
        transport.lose_connection();
    });
    assert_eq!((received, end), (ALL, vec!["closed".to_string()]));
    let pauses = log.taken();
    assert_eq!(pauses.iter().filter(|word| *word == "pause").count(), 4);
    assert!(!pauses.contains(&"stop".to_string()), "it is done: {pauses:?}");
}

/// A producer with another handle on it.
struct Shared<P>(Rc<P>);

impl<P: Producer> Producer for Shared<P> {
    fn pause_producing(&self) {
        self.0.pause_producing();
    }
    fn resume_producing(&self) {
        self.0.resume_producing();
    }
    fn stop_producing(&self) {
        self.0.stop_producing();
    }
}

#[test]
fn a_producer_that_writes_later_holds_the_connection_open_until_it_is_unregistered() {
    struct Later(Log);
    impl Producer for Later {
        fn pause_producing(&self) {}
        fn resume_producing(&self) {
            self.0.note("resume");
        }
        fn stop_producing(&self) {}
    }

    let (log, kept) = (Log::default(), Rc::new(RefCell::new(None::<Transport>)));
    let (noted, keep) = (log.clone(), kept.clone());
    let on_made = move |transport: &Transport| {
        transport.register_producer(Later(noted.clone()));
        transport.write(&vec![b'x'; PIECE]);
        transport.lose_connection();
        *keep.borrow_mut() = Some(transport.clone());
    };
    let (received, end) = (Rc::new(Cell::new(0)), Log::default());
    let sink = Sink(received.clone(), end.clone());
    let mut pump = IoPump::connect(OnMade(on_made, Log::default()), sink, &Clock::new(), 4096);
    pump.flush();
    assert_eq!((log.taken(), end.taken().len()), (vec!["resume".to_string()], 0));
    let transport = kept.take().expect("it is connected");
    transport.lose_connection(); // once more: still open
    pump.flush();
    assert!(end.taken().is_empty());
    transport.write(b"later");
    transport.unregister_producer();
    pump.flush();
    assert_eq!((received.get(), end.taken()), (PIECE + 5, vec!["closed".to_string()]));
}

#[test]
fn a_producer_is_stopped_when_its_consumer_is_gone() {
    let log = Log::default();
    let noted = log.clone();
    pumped(move |transport| {
        let (own, left) = (transport.clone(), Cell::new(ALL));
        transport.register_producer(Pieces { transport: own, left, log: noted.clone() });
        transport.write(&vec![b'x'; PIECE]);
        transport.abort_connection();
    });
    assert_eq!(log.taken(), ["pause", "stop"]);
    let noted = log.clone();
    pumped(move |transport| {
        transport.abort_connection();
        let (own, left) = (transport.clone(), Cell::new(ALL));
        transport.register_producer(Pieces { transport: own, left, log: noted.clone() });
    });
    assert_eq!(log.taken(), ["stop"], "registered when it is over");
}

#[test]
fn a_proxy_closes_its_source_when_its_consumer_dies() {
    struct Source(Rc<RefCell<Option<Transport>>>);
    impl Protocol for Source {
        fn connection_made(&mut self, transport: &Transport) {
            *self.0.borrow_mut() = Some(transport.clone());
        }
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    }

    let (source, end) = (Rc::new(RefCell::new(None)), Log::default());
    let proxy_in = Source(source.clone());
    let sink = Sink(Rc::default(), end.clone());
    let mut front = IoPump::connect(sink, proxy_in, &Clock::new(), 4096);
    let reads = source.take().expect("it is connected");
    pumped(move |consumer| {
        consumer.register_producer(reads.clone());
        consumer.write(&vec![b'x'; PIECE]); // pauses the source
        consumer.abort_connection();
    });
    front.flush();
    assert_eq!(end.taken(), ["closed"]);
}

#[test]
fn a_connection_that_is_its_own_producer_closes() {
    let (received, end, _) = pumped(|transport| {
        transport.register_producer(transport.clone());
        transport.write(&vec![b'x'; PIECE]);
        transport.lose_connection();
    });
    assert_eq!((received, end), (PIECE, vec!["closed".to_string()]));
}

#[test]
fn a_second_producer_panics() {
    let (_, _, own_end) = pumped(|transport| {
        transport.register_producer(transport.clone());
        transport.register_producer(transport.clone());
    });
    assert_eq!(own_end, ["panicked: a producer is registered already"]);
    let (_, _, own_end) = pumped(|transport| {
        transport.register_producer(transport.clone());
        transport.unregister_producer();
        transport.register_producer(transport.clone());
        transport.lose_connection();
    });
    assert_eq!(own_end, ["closed"]);
}

#[test]
fn a_panic_of_a_producer_is_the_error_of_its_consumers_connection() {
    struct Touchy(&'static str);
    impl Touchy {
        fn told(&self, call: &str) {
            assert_ne!(self.0, call, "on purpose");
        }
    }
    impl Producer for Touchy {
        fn pause_producing(&self) {
            self.told("pause");
        }
        fn resume_producing(&self) {
            self.told("resume");
        }
        fn stop_producing(&self) {
            self.told("stop");
        }
    }

    for call in ["pause", "resume"] {
        let (_, end, own_end) = pumped(move |transport| {
            transport.register_producer(Touchy(call));
            transport.write(&vec![b'x'; PIECE]);
        });
        assert_eq!(end, ["connection reset"]);
        assert!(own_end[0].starts_with("panicked: "), "{call}: {own_end:?}");
    }
    let (_, _, own_end) = pumped(|transport| {
        transport.register_producer(Touchy("stop"));
        transport.fail_connection(io::Error::other("the reason"));
    });
    assert_eq!(own_end, ["the reason"]);
}

#[test]
fn nothing_waits_to_be_sent_on_a_closed_connection() {
    let kept = Rc::new(RefCell::new(None::<Transport>));
    let keep = kept.clone();
    let on_made = move |transport: &Transport| {
        transport.write(&vec![b'x'; PIECE]);
        *keep.borrow_mut() = Some(transport.clone());
    };
    let sink = Sink(Rc::default(), Log::default());
    let mut pump = IoPump::connect(OnMade(on_made, Log::default()), sink, &Clock::new(), 40_000);
    assert!(pump.pump());
    let transport = kept.take().expect("it is connected");
    assert!(transport.buffered() > 0);
    transport.abort_connection();
    pump.flush();
    assert_eq!(transport.buffered(), 0);
    transport.write(b"too late");
    assert_eq!(transport.buffered(), 0);
}
