//! The aside `protocols`: a chat room ([`chat_room`](super::chat_room)) for people with `nc`;
//! without a port, a script plays all its members.
//! Run it: cargo run -p twisted-style -- protocols --port 8000, then, twice: nc 127.0.0.1 8000

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use super::chat_room::{LONGEST, NAME_TIMEOUT, Room};
use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::failure::Failure;
use crate::twisted::inline::inline_callbacks;
use crate::twisted::line_receiver::{LineProtocol, LineReceiver, Lines};
use crate::twisted::locks::DeferredQueue;
use crate::twisted::reactor::{Reactor, SystemEvent};
use crate::twisted::transport::Transport;

pub fn aside(flags: &Flags) -> Section {
    let mut section = Section::default();
    let result = match flags.port {
        Some(port) => serve(port),
        None => show(&mut section),
    };
    section.wrong = result.err().map(|error| error.to_string());
    section
}

/// For people with `nc`: until Ctrl-C or SIGTERM, which closes the room. A second signal ends the
/// program immediately.
fn serve(port: u16) -> io::Result<()> {
    let reactor = Reactor::new()?;
    let listener = TcpListener::bind(("127.0.0.1", port))
        .map_err(|error| io::Error::other(format!("cannot listen on port {port}: {error}")))?;
    let port = listener.local_addr()?.port();
    let room = Room::new(&reactor);
    room.clone().listen(listener)?;
    reactor.add_system_event_trigger(SystemEvent::BeforeShutdown, move || room.close());
    let (signalled, handler) = UnixStream::pair()?;
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, again.clone())?;
        flag::register(signal, again.clone())?;
        pipe::register(signal, handler.try_clone()?)?;
    }
    let stop = reactor.clone();
    reactor.add_reader(signalled, move || stop.stop())?;
    println!("a chat room on 127.0.0.1:{port}; connect with: nc 127.0.0.1 {port}");
    reactor.run();
    Ok(())
}

/// W2: Twisted comes with lines, timers, threads and back-pressure, and the room uses them.
pub fn batteries(section: &Section) -> Verdict {
    let number = |name| section.measured.get(name).and_then(serde_json::Value::as_u64);
    let (lines, kept) =
        (number("lines").unwrap_or(0), number("kept_for_the_slow_one").unwrap_or(0));
    let heard = |words: &str| section.answer.iter().filter(|line| line.contains(words)).count();
    let (late, counted) = (heard("no name, no chat"), heard("primes below"));
    let said = format!(
        "{lines} lines were received, {late} timeout ended a connection, {counted} count came \
         from the thread pool, {} KiB were kept for a member that did not read",
        kept / 1024
    );
    if section.wrong.is_none() && lines.min(kept) > 0 && late.min(counted) > 0 {
        Verdict::Holds(said)
    } else {
        Verdict::Fails(said)
    }
}

/// A client of the room, as the script below uses it.
#[derive(Clone)]
struct Visitor {
    heard: DeferredQueue<String>,
    transport: Rc<RefCell<Option<Transport>>>,
}

struct VisitorProtocol(Visitor, Option<Resolver<Visitor>>);

impl LineProtocol for VisitorProtocol {
    const DELIMITER: &'static [u8] = b"\n";

    fn connection_made(&mut self, lines: &Lines) {
        *self.0.transport.borrow_mut() = Some(Transport::clone(lines));
        if let Some(connected) = self.1.take() {
            connected.callback(self.0.clone());
        }
    }

    fn line_received(&mut self, _: &Lines, line: &[u8]) {
        self.hear(&String::from_utf8_lossy(line));
    }

    fn connection_lost(&mut self, _: io::Result<()>) {
        self.hear("(the connection is closed)");
    }
}

impl VisitorProtocol {
    fn hear(&self, line: &str) {
        self.0.heard.put(line.to_string()).expect("the queue has no limit");
    }
}

impl Visitor {
    fn connect(reactor: &Reactor, address: SocketAddr) -> Deferred<Visitor> {
        let (connected, visitor) = Deferred::new();
        let new = Visitor { heard: DeferredQueue::new(), transport: Rc::default() };
        let protocol = LineReceiver::new(VisitorProtocol(new, Some(connected)));
        reactor.connect_tcp(address, protocol, Duration::from_secs(10));
        visitor
    }

    fn says(&self, line: &str) {
        if let Some(transport) = &*self.transport.borrow() {
            transport.write(format!("{line}\n").as_bytes());
        }
    }

    fn stops_reading(&self) {
        if let Some(transport) = &*self.transport.borrow() {
            transport.pause_producing();
        }
    }
}

/// What was sent and received, in the order of the script.
#[derive(Clone, Default)]
struct Transcript(Rc<RefCell<Vec<String>>>);

impl Transcript {
    fn says(&self, who: &str, visitor: &Visitor, line: &str) {
        let shown: String = line.chars().take(24).collect();
        self.0.borrow_mut().push(format!("{who:>4}: {shown}"));
        visitor.says(line);
    }

    async fn hears(&self, who: &str, visitor: &Visitor) -> Result<(), Failure> {
        let line = visitor.heard.get().await?;
        self.0.borrow_mut().push(format!("{:24}{who:>4} hears: {line}", ""));
        Ok(())
    }

    fn note(&self, words: &str) {
        self.0.borrow_mut().push(format!("{:6}({words})", ""));
    }
}

fn show(section: &mut Section) -> io::Result<()> {
    let reactor = Reactor::new()?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let room = Room::new(&reactor);
    room.clone().listen(listener)?;
    let seen = Transcript::default();
    let start = Instant::now();
    let script = inline_callbacks(play(room.clone(), address, seen.clone()));
    let result = reactor.run_until(script);
    let seconds = start.elapsed().as_secs_f64();
    section.answer = seen.0.take();
    let sent = result.map_err(io::Error::from)?;
    section.measure("lines", room.lines.get().into());
    section.measure("sent_before_the_cut", sent.into());
    section.measure("kept_for_the_slow_one", room.kept.get().into());
    let rate = room.lines.get() as f64 / seconds;
    section.measure("lines_per_s", rate.into());
    section.shown.push(format!("  {rate:>9.0} lines per second, {} in all", room.lines.get()));
    section.shown.push(format!("  {sent:>9} bytes were sent to dan until he was disconnected;"));
    section.shown.push(format!(
        "  {:>9} of them were kept here, the others are in the kernel's buffers",
        room.kept.get()
    ));
    Ok(())
}

/// What happens in the room. Returns how many bytes were sent until the slow member was
/// disconnected.
async fn play(room: Rc<Room>, address: SocketAddr, seen: Transcript) -> Result<u64, Failure> {
    let reactor = room.reactor.clone();
    let ann = Visitor::connect(&reactor, address).await?;
    seen.hears("ann", &ann).await?;
    seen.says("ann", &ann, "ann");
    seen.hears("ann", &ann).await?;

    let ben = Visitor::connect(&reactor, address).await?;
    ben.heard.get().await?;
    seen.says("ben", &ben, "ann");
    seen.hears("ben", &ben).await?;
    seen.says("ben", &ben, "ben");
    seen.hears("ben", &ben).await?;
    seen.hears("ann", &ann).await?;
    seen.says("ann", &ann, "hello");
    seen.hears("ben", &ben).await?;
    seen.says("ben", &ben, "/primes 10000");
    seen.hears("ann", &ann).await?;
    ben.heard.get().await?;

    room.name_timeout.set(Duration::from_millis(20));
    let mute = Visitor::connect(&reactor, address).await?;
    mute.heard.get().await?;
    seen.note("mute connects and says nothing");
    seen.hears("mute", &mute).await?;
    seen.hears("mute", &mute).await?;

    room.name_timeout.set(NAME_TIMEOUT);
    let cid = Visitor::connect(&reactor, address).await?;
    cid.heard.get().await?;
    seen.says("cid", &cid, &"blah ".repeat(LONGEST));
    seen.hears("cid", &cid).await?;

    let dan = Visitor::connect(&reactor, address).await?;
    dan.heard.get().await?;
    seen.says("dan", &dan, "dan");
    seen.hears("ann", &ann).await?;
    ben.heard.get().await?;
    dan.stops_reading();
    room.slow.set(Duration::from_millis(20));
    seen.note("dan stops reading, and ann keeps talking");
    let sent = flood(&ann, &ben).await?;
    seen.hears("ann", &ann).await?;
    seen.says("ben", &ben, "/quit");
    seen.hears("ann", &ann).await?;
    Ok(sent)
}

/// Makes `from` talk until the room has disconnected a member, and `to` read all of it.
async fn flood(from: &Visitor, to: &Visitor) -> Result<u64, Failure> {
    const AT_ONCE: usize = 64;
    const TOO_MUCH: u64 = 1 << 30;

    let line = "blah ".repeat(LONGEST / 5);
    let mut sent = 0;
    while sent < TOO_MUCH {
        for _ in 0..AT_ONCE {
            from.says(&line);
            sent += line.len() as u64;
        }
        for _ in 0..AT_ONCE {
            if to.heard.get().await?.contains("is disconnected") {
                return Ok(sent);
            }
        }
    }
    Err(io::Error::other("no member was disconnected").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_follows_what_was_heard() {
        let judge = |lines: u64, kept: u64, heard: [&str; 2]| {
            let mut section = Section::default();
            section.measure("lines", lines.into());
            section.measure("kept_for_the_slow_one", kept.into());
            section.answer = heard.map(String::from).into();
            batteries(&section)
        };
        let heard = ["mute hears: * no name, no chat", "ann hears: * ben asked: 4 primes below 9"];
        assert!(matches!(judge(9, 2048, heard), Verdict::Holds(_)));
        for broken in [
            judge(0, 2048, heard),
            judge(9, 0, heard),
            judge(9, 2048, [heard[0], ""]),
            judge(9, 2048, ["", heard[1]]),
        ] {
            assert!(matches!(broken, Verdict::Fails(_)), "{broken:?}");
        }
    }
}
