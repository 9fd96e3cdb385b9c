//! The aside `protocols`: a chat room. A protocol a visitor, one factory, lines, a timer for those
//! who do not say who they are, a thread for those who ask for something long, and no patience
//! with those who do not read.
//! Run it: cargo run -p twisted-style -- protocols --port 8000, then, twice: nc 127.0.0.1 8000

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
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

use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::failure::Failure;
use crate::twisted::inline::inline_callbacks;
use crate::twisted::line_receiver::{LineProtocol, LineReceiver, Lines};
use crate::twisted::locks::DeferredQueue;
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::{Reactor, SystemEvent};
use crate::twisted::transport::Transport;

/// A line may have so many bytes, as may everything else that somebody else decides.
const LONGEST: usize = 512;

/// How long one may be behind with reading before one is cut off.
const SLOW: Duration = Duration::from_secs(1);

/// How long one may take to say who one is.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whoever is in the room.
struct Room {
    reactor: Reactor,
    members: RefCell<BTreeMap<String, Transport>>,
    patience: Cell<Duration>,
    slow: Cell<Duration>,
    /// Who has more to read than the transport likes to keep: all others are not read meanwhile.
    behind: RefCell<BTreeSet<String>>,
    lines: Cell<u64>,
    /// How much was kept for the last one who was cut off, in bytes.
    kept: Cell<usize>,
}

impl Room {
    fn new(reactor: &Reactor) -> Rc<Room> {
        Rc::new(Room {
            reactor: reactor.clone(),
            members: RefCell::default(),
            patience: Cell::new(PATIENCE),
            slow: Cell::new(SLOW),
            behind: RefCell::default(),
            lines: Cell::new(0),
            kept: Cell::new(0),
        })
    }

    fn listen(self: Rc<Room>, listener: TcpListener) -> io::Result<()> {
        let reactor = self.reactor.clone();
        let factory = move |_| {
            let member = Member::new(self.clone());
            Some(LineReceiver::new(member))
        };
        reactor.listen_tcp(listener, factory)?;
        Ok(())
    }

    /// Writes to all but one. What somebody does not take is kept, and when that becomes too much
    /// `pause_producing` is called.
    fn tell_others(&self, but: &str, line: &str) {
        let line = format!("{line}\n");
        for (name, transport) in &*self.members.borrow() {
            if name != but {
                transport.write(line.as_bytes());
            }
        }
    }

    /// Nobody is read while somebody is behind: the room is as fast as its slowest reader, for a
    /// second at most.
    fn fall_behind(&self, name: &str) {
        self.behind.borrow_mut().insert(name.to_string());
        for transport in self.members.borrow().values() {
            transport.pause_producing();
        }
    }

    fn catch_up(&self, name: &str) {
        let mut behind = self.behind.borrow_mut();
        if behind.remove(name) && behind.is_empty() {
            for transport in self.members.borrow().values() {
                transport.resume_producing();
            }
        }
    }

    fn close(&self) {
        self.tell_others("", "* the room is closed");
        for transport in self.members.borrow().values() {
            transport.lose_connection();
        }
    }

    fn names(&self, but: &str) -> String {
        let members = self.members.borrow();
        let names: Vec<&str> = members.keys().map(String::as_str).filter(|n| *n != but).collect();
        if names.is_empty() { "nobody".to_string() } else { names.join(", ") }
    }
}

/// One connection.
struct Member {
    room: Rc<Room>,
    name: Option<String>,
    /// What is still to come of a paste, and what has come.
    paste: (usize, Vec<u8>),
}

impl Member {
    fn new(room: Rc<Room>) -> Member {
        Member { room, name: None, paste: (0, Vec::new()) }
    }
}

impl LineProtocol for Member {
    const DELIMITER: &'static [u8] = b"\n";
    const MAX_LENGTH: usize = LONGEST + 1; // nc ends a line with \n, telnet with \r\n

    fn connection_made(&mut self, lines: &Lines) {
        lines.set_timeout(Some(self.room.patience.get()));
        lines.send_line(b"* who are you?");
    }

    fn line_received(&mut self, lines: &Lines, line: &[u8]) {
        self.room.lines.set(self.room.lines.get() + 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LONGEST {
            return self.line_length_exceeded(lines, line);
        }
        let line = printable(line.trim_ascii_end());
        let Some(name) = &self.name else { return self.come_in(lines, &line) };
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("/who", _) => lines.send_line(format!("* here: {}", self.room.names(name)).as_bytes()),
            ("/me", _) => lines.send_line(format!("* {name} at {}", lines.peer()).as_bytes()),
            ("/paste", bytes) => match bytes.parse() {
                Ok(n) if (1..=LONGEST).contains(&n) => {
                    self.paste = (n, Vec::new());
                    lines.set_raw_mode();
                }
                _ => lines.send_line(format!("* /paste takes a number up to {LONGEST}").as_bytes()),
            },
            ("/quit", _) => lines.lose_connection(),
            ("/primes", below) => self.count(lines, name, below),
            _ => self.room.tell_others(name, &format!("<{name}> {line}")),
        }
    }

    fn raw_data_received(&mut self, lines: &Lines, data: &[u8]) {
        let (missing, paste) = &mut self.paste;
        let (wanted, rest) = data.split_at(data.len().min(*missing));
        paste.extend_from_slice(wanted);
        *missing -= wanted.len();
        if *missing == 0 {
            let name = self.name.as_deref().unwrap_or_default();
            let pasted: Vec<String> =
                paste.trim_ascii_end().split(|&b| b == b'\n').map(printable).collect();
            self.room.tell_others(name, &format!("<{name}> pastes:\n{}", pasted.join("\n")));
            lines.set_line_mode(rest);
        }
    }

    fn line_length_exceeded(&mut self, lines: &Lines, _line: &[u8]) {
        lines.send_line(format!("* a line may have {LONGEST} bytes").as_bytes());
        lines.lose_connection();
    }

    fn timeout_connection(&mut self, lines: &Lines) {
        if self.name.is_some() {
            return self.cut_off(lines);
        }
        lines.send_line(b"* no name, no chat");
        lines.lose_connection();
    }

    fn pause_producing(&mut self, lines: &Lines) {
        let Some(name) = &self.name else { return self.cut_off(lines) };
        self.room.fall_behind(name);
        lines.set_timeout(Some(self.room.slow.get()));
    }

    fn resume_producing(&mut self, lines: &Lines) {
        if let Some(name) = &self.name {
            lines.set_timeout(None);
            self.room.catch_up(name);
        }
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        let Some(name) = self.name.take() else { return };
        self.room.members.borrow_mut().remove(&name);
        self.room.catch_up(&name);
        let how = reason.map_or_else(|error| format!("is cut off: {error}"), |()| "left".into());
        self.room.tell_others(&name, &format!("* {name} {how}"));
    }
}

impl Member {
    fn cut_off(&self, lines: &Lines) {
        self.room.kept.set(lines.buffered());
        lines.fail_connection(io::Error::other("does not read"));
    }

    fn come_in(&mut self, lines: &Lines, name: &str) {
        let room = &self.room;
        if name.is_empty() || name.len() > 16 || !name.chars().all(char::is_alphanumeric) {
            return lines.send_line(b"* a name has 1 to 16 letters; who are you?");
        }
        if room.members.borrow().contains_key(name) {
            return lines.send_line(b"* somebody else has that name; who are you?");
        }
        lines.set_timeout(None);
        lines.send_line(format!("* here: {}", room.names(name)).as_bytes());
        room.tell_others(name, &format!("* {name} came in"));
        room.members.borrow_mut().insert(name.to_string(), Transport::clone(lines));
        if !room.behind.borrow().is_empty() {
            lines.pause_producing();
        }
        self.name = Some(name.to_string());
    }

    /// Counting takes its time: in a thread, or the whole room would wait for it.
    fn count(&self, lines: &Lines, name: &str, below: &str) {
        let Some(below) = below.parse().ok().filter(|below| *below <= 10_000_000_u32) else {
            return lines.send_line(b"* /primes takes a number up to 10000000");
        };
        let (room, name) = (self.room.clone(), name.to_string());
        let counted = room.reactor.defer_to_thread(move || Ok(primes(below)));
        let told = counted.add_callback(move |primes| {
            room.tell_others("", &format!("* {name} asked: {primes} primes below {below}"));
        });
        drop(told); // an error of it is reported as unhandled
    }
}

/// One end of a conversation, for the aside `clock`.
pub(crate) fn somebody(reactor: &Reactor) -> impl Protocol {
    LineReceiver::new(Member::new(Room::new(reactor)))
}

/// What a terminal shows as it is: nothing that moves its cursor or changes its colors.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|letter| !letter.is_control()).collect()
}

fn primes(below: u32) -> usize {
    let divides = |n: u32| (2..n).take_while(move |d| d * d <= n).any(move |d| n.is_multiple_of(d));
    (2..below).filter(|&n| !divides(n)).count()
}

pub fn aside(flags: &Flags) -> Section {
    let mut section = Section::default();
    let result = match flags.port {
        Some(port) => serve(port),
        None => show(&mut section),
    };
    section.wrong = result.err().map(|error| error.to_string());
    section
}

/// For people with `nc`: until Ctrl-C or SIGTERM, which the room is told. A second one ends it at
/// once.
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
    println!("a chat room on 127.0.0.1:{port}; come in with: nc 127.0.0.1 {port}");
    reactor.run();
    Ok(())
}

/// W2: lines, timers, threads and back-pressure are there to be used, and the room uses them.
pub fn batteries(section: &Section) -> Verdict {
    let number = |name| section.measured.get(name).and_then(serde_json::Value::as_u64);
    let (lines, kept) =
        (number("lines").unwrap_or(0), number("kept_for_the_slow_one").unwrap_or(0));
    if section.wrong.is_none() && lines > 0 && kept > 0 {
        Verdict::Holds(format!(
            "a chat room of a factory, a line receiver ({lines} lines), a time-out and a thread \
             pool; one who did not read was cut off with {} KiB kept for them",
            kept / 1024
        ))
    } else {
        Verdict::Fails("the chat room did not come to its end".to_string())
    }
}

/// Somebody in the room, as the script below sees him.
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

    fn reads_no_more(&self) {
        if let Some(transport) = &*self.transport.borrow() {
            transport.pause_producing();
        }
    }
}

/// What was said and heard, in the order of the script.
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
    section.shown.push(format!("  {rate:>9.0} lines a second, of {} in all", room.lines.get()));
    section.shown.push(format!("  {sent:>9} bytes went to dan before he was cut off;"));
    section.shown.push(format!(
        "  {:>9} of them were kept here, the others are in his buffers",
        room.kept.get()
    ));
    Ok(())
}

/// What happens in the room; how many bytes it took until the slow one was cut off.
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

    room.patience.set(Duration::from_millis(20));
    let mute = Visitor::connect(&reactor, address).await?;
    mute.heard.get().await?;
    seen.note("mute connects and says nothing");
    seen.hears("mute", &mute).await?;
    seen.hears("mute", &mute).await?;

    room.patience.set(PATIENCE);
    let cid = Visitor::connect(&reactor, address).await?;
    cid.heard.get().await?;
    seen.says("cid", &cid, &"blah ".repeat(LONGEST));
    seen.hears("cid", &cid).await?;

    let dan = Visitor::connect(&reactor, address).await?;
    dan.heard.get().await?;
    seen.says("dan", &dan, "dan");
    seen.hears("ann", &ann).await?;
    ben.heard.get().await?;
    dan.reads_no_more();
    room.slow.set(Duration::from_millis(20));
    seen.note("dan reads no more, and ann goes on and on");
    let sent = flood(&ann, &ben).await?;
    seen.hears("ann", &ann).await?;
    seen.says("ben", &ben, "/quit");
    seen.hears("ann", &ann).await?;
    Ok(sent)
}

/// Has `from` talk until the room says that it has cut somebody off; nobody gets ahead of `to`,
/// who reads.
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
            if to.heard.get().await?.contains("cut off") {
                return Ok(sent);
            }
        }
    }
    Err(io::Error::other("nobody was cut off").into())
}
