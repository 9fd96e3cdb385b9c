//! The chat room of the aside `protocols`: one protocol per member, one factory, lines, a timeout
//! for clients that do not send a name, a thread for a long computation, and a limit for members
//! that do not read.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use crate::twisted::line_receiver::{LineProtocol, LineReceiver, Lines};
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::Reactor;
use crate::twisted::transport::Transport;

/// The maximum number of bytes of a line, and of everything else that a client can make long.
pub(super) const LONGEST: usize = 512;

/// How long a member may stop reading before it is disconnected.
const SLOW: Duration = Duration::from_secs(1);

/// How long a client may take to send its name.
pub(super) const NAME_TIMEOUT: Duration = Duration::from_mins(1);

/// The members of the room.
pub(super) struct Room {
    pub(super) reactor: Reactor,
    members: RefCell<BTreeMap<String, Transport>>,
    pub(super) name_timeout: Cell<Duration>,
    pub(super) slow: Cell<Duration>,
    /// Members that do not read what is sent to them. While there are any, no member is read.
    behind: RefCell<BTreeSet<String>>,
    pub(super) lines: Cell<u64>,
    /// How many bytes were kept for the last member that was disconnected.
    pub(super) kept: Cell<usize>,
}

impl Room {
    pub(super) fn new(reactor: &Reactor) -> Rc<Room> {
        Rc::new(Room {
            reactor: reactor.clone(),
            members: RefCell::default(),
            name_timeout: Cell::new(NAME_TIMEOUT),
            slow: Cell::new(SLOW),
            behind: RefCell::default(),
            lines: Cell::new(0),
            kept: Cell::new(0),
        })
    }

    pub(super) fn listen(self: Rc<Room>, listener: TcpListener) -> io::Result<()> {
        let reactor = self.reactor.clone();
        let factory = move |_| {
            let member = Member::new(self.clone());
            Some(LineReceiver::new(member))
        };
        reactor.listen_tcp(listener, factory)?;
        Ok(())
    }

    /// Writes to all members but one. What a member does not read is buffered. If that is too much,
    /// `pause_producing` is called.
    fn tell_others(&self, but: &str, line: &str) {
        let line = format!("{line}\n");
        for (name, transport) in &*self.members.borrow() {
            if name != but {
                transport.write(line.as_bytes());
            }
        }
    }

    /// No member is read while one of them is behind: the room is as fast as its slowest reader,
    /// for at most a second.
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

    pub(super) fn close(&self) {
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
    /// How many bytes of a paste are missing, and those that have arrived.
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
        lines.set_timeout(Some(self.room.name_timeout.get()));
        lines.send_line(b"* who are you?");
    }

    fn line_received(&mut self, lines: &Lines, line: &[u8]) {
        self.room.lines.set(self.room.lines.get() + 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LONGEST {
            return self.line_length_exceeded(lines, line);
        }
        let line = printable(line.trim_ascii_end());
        let Some(name) = &self.name else { return self.register(lines, &line) };
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
            return self.disconnect(lines);
        }
        lines.send_line(b"* no name, no chat");
        lines.lose_connection();
    }

    fn pause_producing(&mut self, lines: &Lines) {
        let Some(name) = &self.name else { return self.disconnect(lines) };
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
        let how =
            reason.map_or_else(|error| format!("is disconnected: {error}"), |()| "left".into());
        self.room.tell_others(&name, &format!("* {name} {how}"));
    }
}

impl Member {
    fn disconnect(&self, lines: &Lines) {
        self.room.kept.set(lines.buffered());
        lines.fail_connection(io::Error::other("does not read"));
    }

    fn register(&mut self, lines: &Lines, name: &str) {
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

    /// Counting takes long, so it is done in a thread. Otherwise the whole room would wait for it.
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

/// A member of an empty room, for the aside `clock`.
pub(crate) fn one_member(reactor: &Reactor) -> impl Protocol {
    LineReceiver::new(Member::new(Room::new(reactor)))
}

/// Without control characters, which could move the cursor of a terminal or change its colors.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|letter| !letter.is_control()).collect()
}

fn primes(below: u32) -> usize {
    let divides = |n: u32| (2..n).take_while(move |d| d * d <= n).any(move |d| n.is_multiple_of(d));
    (2..below).filter(|&n| !divides(n)).count()
}
