use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use common::limits::BUFFER;
use common::workload::server::ACCEPT_BACKOFF;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{DEADLINE, complete, event_loop, sockets_of, turns};
use crate::asyncio::event_loop::EventLoop;
use crate::asyncio::exceptions::Exception;
use crate::asyncio::transports::{HIGH_WATER, Protocol, Server, Transport};

/// Notes what it is called with.
#[derive(Clone, Default)]
struct Notes(Rc<Noted>);

#[derive(Default)]
struct Noted {
    words: RefCell<Vec<&'static str>>,
    data: RefCell<Vec<u8>>,
    transport: RefCell<Option<Transport>>,
    keep_open: Cell<bool>,
    pause_at_once: Cell<bool>,
    writes_at_once: Cell<usize>,
}

impl Notes {
    fn note(&self, word: &'static str) {
        self.0.words.borrow_mut().push(word);
    }

    fn words(&self) -> Vec<&'static str> {
        self.0.words.borrow().clone()
    }

    fn transport(&self) -> Transport {
        self.0.transport.borrow().clone().expect("it was made")
    }
}

impl Protocol for Notes {
    fn connection_made(&mut self, transport: &Transport) {
        self.note("made");
        *self.0.transport.borrow_mut() = Some(transport.clone());
        if self.0.pause_at_once.get() {
            transport.pause_reading();
        }
        transport.write(&vec![b'x'; self.0.writes_at_once.get()]);
    }

    fn data_received(&mut self, data: &[u8]) {
        self.0.data.borrow_mut().extend(data);
    }

    fn eof_received(&mut self) -> bool {
        self.note("eof");
        self.0.keep_open.get()
    }

    fn pause_writing(&mut self) {
        self.note("pause");
    }

    fn resume_writing(&mut self) {
        self.note("resume");
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.note(if error.is_some() { "lost by an error" } else { "lost" });
    }
}

fn serve(event_loop: &EventLoop, notes: &Notes) -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let notes = notes.clone();
    (event_loop.create_server(listener, move || notes.clone()).unwrap(), address)
}

fn until(event_loop: &EventLoop, condition: impl Fn() -> bool) {
    let timer = event_loop.call_later(DEADLINE, || panic!("it hangs"));
    while !condition() {
        // An event or the timer has to come: each turn with work checks once.
        let (stops, soon) = (event_loop.clone(), Duration::from_millis(1));
        let look = event_loop.call_later(soon, move || stops.stop());
        event_loop.run_forever().unwrap();
        look.cancel();
    }
    timer.cancel();
}

#[test]
fn lost_connections_leave_no_descriptor_although_their_transports_are_kept() {
    let event_loop = event_loop();
    let all: Rc<RefCell<Vec<Notes>>> = Rc::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let made = Rc::clone(&all);
    let server = event_loop
        .create_server(listener, move || {
            made.borrow_mut().push(Notes::default());
            made.borrow().last().expect("it was just pushed").clone()
        })
        .unwrap();
    for n in 1..=50 {
        drop(TcpStream::connect(address).unwrap());
        until(&event_loop, || all.borrow().len() == n && all.borrow()[n - 1].words().len() == 3);
        assert_eq!(all.borrow()[n - 1].words(), ["made", "eof", "lost"]);
    }
    assert_eq!(sockets_of(address.port()), 1, "the listener");
    server.close();
    assert_eq!(sockets_of(address.port()), 0);
}

/// Owns a value, and notes its calls.
struct Owns(Notes, #[expect(dead_code, reason = "held, not read")] Rc<()>);
impl Protocol for Owns {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.connection_made(transport);
    }
    fn data_received(&mut self, _data: &[u8]) {}
    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.0.connection_lost(error);
    }
}

#[test]
fn a_protocol_is_dropped_after_its_connection_was_lost() {
    let event_loop = event_loop();
    let (notes, probe) = (Notes::default(), Rc::new(()));
    let (_server, address) = serve(&event_loop, &Notes::default());
    let owns = Owns(notes.clone(), Rc::clone(&probe));
    let connected = event_loop.create_connection(address, owns);
    event_loop.run_until_complete(&connected).unwrap().close();
    turns(&event_loop, 2);
    assert_eq!(notes.words(), ["made", "lost"]);
    assert_eq!(Rc::strong_count(&probe), 1);
}

#[test]
fn a_closed_loop_closes_its_connections() {
    let event_loop = event_loop();
    let (notes, other) = (Notes::default(), Notes::default());
    let (_server, address) = serve(&event_loop, &notes);
    let connected = event_loop.create_connection(address, other.clone());
    event_loop.run_until_complete(&connected).unwrap().pause_reading();
    until(&event_loop, || notes.words() == ["made"]);
    // One more connection, not made yet.
    let pending = event_loop.create_connection(address, Notes::default());
    event_loop.close().unwrap();
    drop(pending);
    assert_eq!(sockets_of(address.port()), 1, "the listener, which the server has");
    notes.transport().write(b"too late");
    other.transport().close();
}

#[test]
fn reading_that_was_paused_in_connection_made_stays_paused() {
    let event_loop = event_loop();
    let notes = Notes::default();
    notes.0.pause_at_once.set(true);
    let (_server, address) = serve(&event_loop, &notes);
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(b"data").unwrap();
    until(&event_loop, || !notes.words().is_empty());
    turns(&event_loop, 5);
    assert!(notes.0.data.borrow().is_empty());
    notes.transport().resume_reading();
    until(&event_loop, || !notes.0.data.borrow().is_empty());
}

#[test]
fn a_transport_that_stays_open_after_the_end_can_still_be_written() {
    let event_loop = event_loop();
    let notes = Notes::default();
    notes.0.keep_open.set(true);
    let (_server, address) = serve(&event_loop, &notes);
    let mut peer = TcpStream::connect(address).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    until(&event_loop, || notes.words() == ["made", "eof"]);
    let transport = notes.transport();
    transport.pause_reading();
    transport.resume_reading();
    turns(&event_loop, 3);
    assert_eq!(notes.words(), ["made", "eof"], "there is one end only");
    transport.write(b"answer");
    transport.close();
    until(&event_loop, || notes.words().len() == 3);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}

#[test]
fn a_protocol_is_paused_and_then_resumed() {
    let event_loop = event_loop();
    let notes = Notes::default();
    notes.0.writes_at_once.set(200 * HIGH_WATER);
    let (_server, address) = serve(&event_loop, &notes);
    let mut peer = TcpStream::connect(address).unwrap();
    until(&event_loop, || notes.words().contains(&"pause"));
    let reads = thread::spawn(move || while peer.read(&mut [0; BUFFER]).is_ok_and(|n| n > 0) {});
    until(&event_loop, || notes.words().len() == 3);
    notes.transport().close();
    until(&event_loop, || notes.words().len() == 4);
    reads.join().unwrap();
    assert_eq!(notes.words(), ["made", "pause", "resume", "lost"]);
}

#[test]
fn a_buffer_sent_before_the_pause_leaves_no_protocol_paused() {
    let event_loop = event_loop();
    let notes = Notes::default();
    let (_server, address) = serve(&event_loop, &notes);
    let _peer = TcpStream::connect(address).unwrap();
    until(&event_loop, || !notes.words().is_empty());
    // More than the limit, and less than the socket takes at once.
    notes.transport().write(&vec![0; HIGH_WATER + 1]);
    until(&event_loop, || notes.words().len() == 3);
    assert_eq!(notes.words(), ["made", "pause", "resume"]);
}

#[test]
fn a_cancelled_create_connection_leaves_no_socket_and_makes_nothing() {
    // After this many turns: before it is connected, when it is, and when it was made.
    for after in 0..4 {
        let event_loop = event_loop();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Notes::default();
        let (connects, protocol) = (event_loop.clone(), notes.clone());
        let task = event_loop.create_task(async move {
            let _transport = connects.create_connection(address, protocol).await?;
            connects.create_future::<()>().await
        });
        turns(&event_loop, after);
        let made = notes.words() == ["made"];
        task.cancel();
        turns(&event_loop, 3);
        if made {
            // The protocol knows the connection, and has to close it from then on.
            continue;
        }
        assert!(notes.words().is_empty(), "after {after} turns: {:?}", notes.words());
        listener.set_nonblocking(true).unwrap();
        while listener.accept().is_ok() {}
        assert_eq!(sockets_of(address.port()), 1, "the listener, after {after} turns");
    }
}

#[test]
fn a_connection_that_is_no_longer_wanted_is_closed() {
    let event_loop = event_loop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let notes = Notes::default();
    let connecting = event_loop.create_connection(address, notes.clone());
    let task = event_loop.create_task(connecting);
    while notes.words().is_empty() {
        turns(&event_loop, 1);
    }
    assert!(!task.done(), "it is woken in the next turn");
    task.cancel();
    turns(&event_loop, 2);
    assert_eq!(notes.words(), ["made", "lost"]);
}

#[test]
fn a_refused_connection_is_an_exception_of_the_future() {
    let event_loop = event_loop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let notes = Notes::default();
    let (connects, protocol) = (event_loop.clone(), notes.clone());
    let result = complete(&event_loop, async move {
        connects.create_connection(address, protocol).await.map(drop)
    });
    let error = result.unwrap().unwrap_err();
    assert!(matches!(error, Exception::Raised(_)) && error.to_string().contains("refused"));
    assert!(notes.words().is_empty());
    assert_eq!(sockets_of(address.port()), 0);
}

#[test]
fn without_a_free_descriptor_the_server_backs_off_and_accepts_later() {
    // The limit is per process.
    let test = "asyncio::tests::transports::without_a_free_descriptor_in_a_process_of_its_own";
    let mut program = Command::new(std::env::current_exe().unwrap());
    let output = program.args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "the test above runs it"]
fn without_a_free_descriptor_in_a_process_of_its_own() {
    let (event_loop, notes) = (event_loop(), Notes::default());
    let (server, address) = serve(&event_loop, &notes);
    let _client = TcpStream::connect(address).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    let began = Instant::now();
    turns(&event_loop, 10_000);
    // For each back-off it is called twice: at the end of the time, and for the listener.
    let back_offs = began.elapsed().div_duration_f64(ACCEPT_BACKOFF) as u64 + 1;
    let (calls, _) = event_loop.counts();
    assert!(calls <= 2 * back_offs, "{calls} calls in {back_offs} times that it backed off");
    assert_eq!(notes.words(), [""; 0]);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    until(&event_loop, || notes.words() == ["made"]);
    server.close();
}
