//! The loopback web site that the clients fetch from: its pages, and the program that serves them.
//!
//! The site is a partner, not a part of any style: a process of its own with one thread, a poll
//! loop (`Web::run`) and timers. [`Site`] is its handle; by hand it runs as
//! `cargo run -p threads -- site --port 8080`. What it answers:
//!
//! | path | answer |
//! |---|---|
//! | `/page/N` | page N: N bytes of text, at least 1024 and at most 16 MiB |
//! | `/gate/N?of=K` | page N, but only when K requests wait at the gate of K |
//! | `/chunked/N` | page N in chunks |
//! | `/close/N` | page N without a length: it ends where the connection ends |
//! | `/old/N` | page N as HTTP/1.0 said it: a status line, no headers |
//! | `/hints/N` | page N after a `103 Early Hints` |
//! | `/drip/N?every=MS` | page N, one byte every MS milliseconds, every 100 if not said |
//! | `/stall` | nothing, ever |
//! | `/stall-body/N` | the first half of page N, then nothing, ever |
//! | `/truncated` | half of the body that the head has promised, then the end |
//! | `/malformed` | something that is not HTTP |
//! | `/reset` | a reset instead of an answer |
//! | `/status/CODE` | that status, 400 to 599 |
//!
//! Every path takes `?delay=MS`: the answer begins that many milliseconds later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, sockopt};
use nix::unistd::getppid;
use polling::{AsRawSource, AsSource, Event, Events, PollMode, Poller};
use ureq_proto::http::StatusCode;

use crate::http::conn::{GRACE, MAX_DRAIN};
use crate::http::page::Page;
use crate::http::request::{Head, Next, Refusal, Request, Requests, number};
use crate::limits::{BACKLOG, BUFFER};

const INDEX: &str = "<!doctype html>\n<title>the site</title>\n<ul>\n\
    <li><a href=\"/page/1\">/page/1</a>: page N is N bytes long, at least 1024\n\
    <li><a href=\"/page/1?delay=1000\">/page/1?delay=1000</a>: a second away\n\
    <li><a href=\"/gate/1?of=2\">/gate/1?of=2</a>: answered when two ask for it\n\
    <li><a href=\"/chunked/5000\">/chunked/5000</a>, <a href=\"/close/5000\">/close/5000</a>,\n\
    <a href=\"/old/5000\">/old/5000</a>, <a href=\"/hints/5000\">/hints/5000</a>:\n\
    other ways to send a page\n\
    <li><a href=\"/drip/1?every=10\">/drip/1?every=10</a>: a byte every 10 ms\n\
    <li><a href=\"/stall\">/stall</a>, <a href=\"/stall-body/5000\">/stall-body/5000</a>,\n\
    <a href=\"/truncated\">/truncated</a>, <a href=\"/malformed\">/malformed</a>,\n\
    <a href=\"/reset\">/reset</a>, <a href=\"/status/404\">/status/404</a>: what can go wrong\n\
    </ul>\n";

/// How much of a page is made at a time.
const PIECE: usize = 16 * 1024;

/// What the site has counted.
///
/// A request is open from the last byte of its head until the last byte of its answer is handed
/// to the kernel, or the client has gone away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests open now.
    pub open: usize,
    /// The most requests that were open at once since the last reset.
    pub most_open: usize,
    /// Requests answered since the last reset, in whatever way.
    pub served: usize,
    /// Requests whose client went away before the end of the answer, since the last reset.
    pub given_up: usize,
    /// Connections accepted since the last reset.
    pub connections: usize,
}

impl Stats {
    fn line(self) -> String {
        let Stats { open, most_open, served, given_up, connections } = self;
        format!(
            "open={open} most_open={most_open} served={served} given_up={given_up} \
             connections={connections}"
        )
    }

    fn parse(line: &str) -> Option<Stats> {
        let mut stats = Stats::default();
        for word in line.split_whitespace() {
            let (name, value) = word.split_once('=')?;
            let field = match name {
                "open" => &mut stats.open,
                "most_open" => &mut stats.most_open,
                "served" => &mut stats.served,
                "given_up" => &mut stats.given_up,
                "connections" => &mut stats.connections,
                _ => return None,
            };
            *field = value.parse().ok()?;
        }
        Some(stats)
    }
}

/// A listener on the loopback address; port 0 takes any that is free.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    // std asks for 128; ten thousand clients that come at once need more.
    socket::listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}

/// A port that is taken, but on which nobody listens: whoever connects is refused.
fn refusing() -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    // As a listener that has never listened it still knows its address.
    let unheard = TcpListener::from(socket);
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&unheard), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    let address = unheard.local_addr()?;
    Ok((unheard.into(), address))
}

// ---- the handle ----------------------------------------------------------------------------

/// A running site. It ends when this is dropped, and with the program that started it.
pub struct Site {
    address: SocketAddr,
    refused: SocketAddr,
    control: UnixStream,
    runner: Runner,
}

enum Runner {
    Process(Child),
    Thread(Option<JoinHandle<io::Result<()>>>),
}

impl Site {
    /// Starts the site as a process of its own: this program once more, with the argument `site`.
    ///
    /// The site also ends with the thread that called this, as `PR_SET_PDEATHSIG` has it.
    pub fn start() -> io::Result<Site> {
        let (control, theirs) = UnixStream::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg("site")
            .stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .process_group(0) // Ctrl-C is for us; the site is still needed to end in good order
            .spawn()?;
        let mut site = Site {
            address: (Ipv4Addr::UNSPECIFIED, 0).into(),
            refused: (Ipv4Addr::UNSPECIFIED, 0).into(),
            control,
            runner: Runner::Process(child),
        };
        let line = site.ask(&format!("parent {}", process::id()))?;
        let addresses =
            line.strip_prefix("site http://").and_then(|rest| rest.split_once(" refused http://"));
        let (address, refused) = addresses.ok_or_else(|| nonsense(&line))?;
        site.address = address.parse().map_err(|_| nonsense(&line))?;
        site.refused = refused.parse().map_err(|_| nonsense(&line))?;
        Ok(site)
    }

    /// Starts the site in a thread of this program. For unit tests, whose program is not ours to
    /// start again; what is measured needs [`Site::start`].
    pub fn in_thread() -> io::Result<Site> {
        let (control, theirs) = UnixStream::pair()?;
        let listener = listen(0)?;
        let address = listener.local_addr()?;
        let (unheard, refused) = refusing()?;
        let commands = Control::new(theirs.try_clone()?.into(), theirs.into());
        let runner = thread::spawn(move || {
            let _unheard = unheard;
            Web::new(listener, commands)?.run()
        });
        Ok(Site { address, refused, control, runner: Runner::Thread(Some(runner)) })
    }

    /// Where the site listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A port on the same machine that nobody listens on.
    pub fn refused(&self) -> SocketAddr {
        self.refused
    }

    /// Counts from zero again.
    pub fn reset(&mut self) -> io::Result<()> {
        self.ask("reset").map(drop)
    }

    /// What has been counted since the last reset.
    pub fn stats(&mut self) -> io::Result<Stats> {
        let line = self.ask("stats")?;
        Stats::parse(&line).ok_or_else(|| nonsense(&line))
    }

    /// Sends a command and waits for the line that answers it.
    fn ask(&mut self, command: &str) -> io::Result<String> {
        self.control.write_all(format!("{command}\n").as_bytes())?;
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            self.control.read_exact(&mut byte).map_err(|error| {
                io::Error::new(error.kind(), format!("the site does not answer: {error}"))
            })?;
            match byte {
                [b'\n'] => break,
                [b] => line.push(b),
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

fn nonsense(line: &str) -> io::Error {
    io::Error::other(format!("the site said: {line}"))
}

impl Drop for Site {
    fn drop(&mut self) {
        // The end of its commands is the site's end.
        let _ = self.control.shutdown(Shutdown::Both);
        match &mut self.runner {
            Runner::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Runner::Thread(runner) => {
                let _ = runner.take().map(JoinHandle::join);
            }
        }
    }
}

// ---- the program ---------------------------------------------------------------------------

/// The program `site`. With a port it runs by hand, until it is interrupted; without, it belongs
/// to the program that started it and ends with that one.
pub fn main(port: Option<u16>) -> ExitCode {
    match program(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("site: {error}");
            ExitCode::FAILURE
        }
    }
}

fn program(port: Option<u16>) -> io::Result<()> {
    if port.is_none() {
        set_pdeathsig(Signal::SIGKILL)?;
    }
    // Every client needs a descriptor.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let listener = listen(port.unwrap_or(0))?;
    let (_unheard, refused) = refusing()?;
    let address = listener.local_addr()?;
    let commands = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut control = Control::new(commands.into(), answers.into());
    control.lives_on = port.is_some();
    control.say(&format!("site http://{address} refused http://{refused}"))?;
    Web::new(listener, control)?.run()
}

/// The commands that the site takes and answers, a line each.
struct Control {
    commands: File,
    answers: File,
    input: Vec<u8>,
    /// Go on when the commands end.
    lives_on: bool,
}

impl Control {
    fn new(commands: OwnedFd, answers: OwnedFd) -> Control {
        Control {
            commands: commands.into(),
            answers: answers.into(),
            input: Vec::new(),
            lives_on: false,
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.answers.write_all(format!("{line}\n").as_bytes())
    }
}

/// The keys of the two sources that are no clients.
const LISTENER: usize = usize::MAX - 1;
const COMMANDS: usize = usize::MAX - 2;

/// How long the listener rests when there are no descriptors for another client.
const REST: Duration = Duration::from_millis(50);

/// The site at work.
struct Web {
    /// Dropped first, while everything that it watches is still open.
    poller: Poller,
    listener: TcpListener,
    control: Control,
    /// By key.
    clients: Vec<Option<Box<Client>>>,
    free: Vec<usize>,
    /// Clients that can go on without an event of their own.
    ready: Vec<usize>,
    timers: BTreeSet<(Instant, usize)>,
    /// Who waits at which gate.
    gates: BTreeMap<usize, BTreeSet<usize>>,
    stats: Stats,
}

impl Web {
    fn new(listener: TcpListener, control: Control) -> io::Result<Web> {
        let web = Web {
            poller: Poller::new()?,
            listener,
            control,
            clients: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            timers: BTreeSet::new(),
            gates: BTreeMap::new(),
            stats: Stats::default(),
        };
        web.listener.set_nonblocking(true)?;
        watch(&web.poller, &web.listener, Event::readable(LISTENER))?;
        match watch(&web.poller, &web.control.commands, Event::readable(COMMANDS)) {
            // A file, or /dev/null: nothing that anybody could wait for.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && web.control.lives_on => {}
            result => result?,
        }
        Ok(web)
    }

    /// The loop: wait for events, then let everybody who can go on do so.
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::new();
        loop {
            let now = Instant::now();
            let next = self.timers.first();
            let pause = next.map(|(at, _)| at.saturating_duration_since(now));
            events.clear();
            self.poller.wait(&mut events, pause)?;
            for event in events.iter() {
                match event.key {
                    LISTENER => self.accept()?,
                    COMMANDS => {
                        if !self.command()? {
                            return Ok(());
                        }
                    }
                    key => self.on_event(key, event),
                }
            }
            self.expire()?;
            while let Some(key) = self.ready.pop() {
                self.step(key);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    self.stats.connections += 1;
                    // A client that is gone already is no reason to end.
                    let _ = self.welcome(socket);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    // Out of descriptors or memory. The listener stays readable: it has to rest,
                    // or the loop would spin.
                    _ => {
                        self.timers.insert((Instant::now() + REST, LISTENER));
                        return self.poller.modify_with_mode(
                            &self.listener,
                            Event::none(LISTENER),
                            PollMode::Level,
                        );
                    }
                },
            }
        }
    }

    fn welcome(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?; // a drip of one byte shall leave at once
        let key = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        if let Err(error) = watch(&self.poller, &socket, Event::readable(key)) {
            self.free.push(key);
            return Err(error);
        }
        self.clients[key] = Some(Box::new(Client::new(socket)));
        Ok(())
    }

    /// Reads and answers commands. False: there will be no more, and that is the end.
    fn command(&mut self) -> io::Result<bool> {
        let mut buf = [0; BUFFER];
        let n = match self.control.commands.read(&mut buf) {
            Ok(n) => n,
            Err(error) if waits(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        if n == 0 {
            self.poller.delete(&self.control.commands)?;
            return Ok(self.control.lives_on);
        }
        self.control.input.extend_from_slice(&buf[..n]);
        while let Some(end) = self.control.input.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.control.input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let mut words = line.split_whitespace();
            let answer = match (words.next(), words.next()) {
                (Some("stats"), None) => self.stats.line(),
                (Some("reset"), None) => {
                    let open = self.stats.open;
                    self.stats = Stats { open, most_open: open, ..Stats::default() };
                    "ok".into()
                }
                // Whoever started us may have died before PR_SET_PDEATHSIG was set.
                (Some("parent"), Some(pid)) if pid == getppid().to_string() => continue,
                (Some("parent"), _) => return Ok(false),
                (None, _) => continue,
                _ => "commands: stats, reset".into(),
            };
            self.control.say(&answer)?;
        }
        Ok(self.control.input.len() <= BUFFER)
    }

    /// Sees to everybody whose time has come.
    fn expire(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(&(at, key)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if key == LISTENER {
                let again = Event::readable(LISTENER);
                self.poller.modify_with_mode(&self.listener, again, PollMode::Level)?;
            } else if let Some(client) = &mut self.clients[key] {
                client.timer = None;
                match client.state {
                    State::Draining => self.remove(key),
                    _ => self.release(key),
                }
            }
        }
        Ok(())
    }

    fn on_event(&mut self, key: usize, event: Event) {
        if event.readable {
            self.read(key);
        }
        if event.writable {
            self.step(key);
        }
    }

    fn read(&mut self, key: usize) {
        let Some(client) = &mut self.clients[key] else {
            return;
        };
        let mut buf = [0; BUFFER];
        match client.socket.read(&mut buf) {
            // It may have closed its sending side only: an answer that is on its way goes out. One
            // that still waits does not, for then most probably nobody is there any more.
            Ok(0) if client.blocked => {
                client.half_closed = true;
                let writable = Event::writable(key);
                let socket = &client.socket;
                if self.poller.modify_with_mode(socket, writable, PollMode::Level).is_err() {
                    self.remove(key);
                }
            }
            Ok(0) => self.remove(key),
            Ok(n) => match client.state {
                State::Draining => {
                    client.drained += n;
                    if client.drained > MAX_DRAIN {
                        self.remove(key);
                    }
                }
                _ if client.requests.buffered() + n > MAX_DRAIN => self.remove(key),
                State::Asking => {
                    client.requests.push(&buf[..n]);
                    self.step(key);
                }
                State::Held | State::Answering => client.requests.push(&buf[..n]),
            },
            Err(error) if waits(&error) => {}
            Err(_) => self.remove(key),
        }
    }

    /// Lets a client go on as far as it can.
    fn step(&mut self, key: usize) {
        // Taken out, so that it and the rest of the site can both be changed.
        let Some(mut client) = self.clients[key].take() else {
            return;
        };
        let stays = self.advance(key, &mut client);
        self.clients[key] = Some(client);
        if !stays.unwrap_or(false) {
            self.remove(key);
        }
    }

    /// Goes on until something has to be waited for. False, or an error: the connection is over.
    fn advance(&mut self, key: usize, client: &mut Client) -> io::Result<bool> {
        loop {
            match client.state {
                State::Asking => match client.requests.next() {
                    Next::More => return Ok(!client.half_closed),
                    Next::Continue(bytes) => client.answer(Answer::raw(&bytes, End::Keep)),
                    Next::Refuse(refusal) => client.answer(Answer::refused(&refusal)),
                    Next::Answer(request) => {
                        self.stats.open += 1;
                        self.stats.most_open = self.stats.most_open.max(self.stats.open);
                        client.open = true;
                        let answer = route(&request);
                        let answer = answer.unwrap_or_else(|r| Answer::refused(&r.to(&request)));
                        let hold = answer.hold;
                        client.answer(answer);
                        self.hold(key, client, hold);
                    }
                },
                State::Held | State::Draining => return Ok(true),
                State::Answering => {
                    let blocked = !client.flush()?;
                    if blocked != client.blocked {
                        client.blocked = blocked;
                        let interest = Event::new(key, !client.half_closed, blocked);
                        let socket = &client.socket;
                        self.poller.modify_with_mode(socket, interest, PollMode::Level)?;
                    }
                    if blocked {
                        return Ok(true);
                    }
                    match client.rest.refill(&mut client.out) {
                        Refill::Now => {}
                        Refill::After(pause) => {
                            self.wake_after(key, client, pause);
                            return Ok(true);
                        }
                        Refill::Never => return Ok(true),
                        Refill::Done => {
                            if !self.answered(key, client)? {
                                return Ok(false);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Holds an answer back until its time, or its gate, has come.
    fn hold(&mut self, key: usize, client: &mut Client, hold: Hold) {
        match hold {
            Hold::Not => {}
            Hold::For(pause) => {
                client.state = State::Held;
                self.wake_after(key, client, pause);
            }
            Hold::Forever => client.state = State::Held,
            Hold::Gate(of) => {
                let waiting = self.gates.entry(of).or_default();
                waiting.insert(key);
                if waiting.len() < of {
                    client.state = State::Held;
                    client.gate = Some(of);
                    return;
                }
                for key in self.gates.remove(&of).unwrap_or_default() {
                    self.release(key);
                }
            }
        }
    }

    /// A client that was held goes on, soon.
    fn release(&mut self, key: usize) {
        if let Some(client) = &mut self.clients[key] {
            client.gate = None;
            client.state = State::Answering;
            self.ready.push(key);
        }
    }

    fn wake_after(&mut self, key: usize, client: &mut Client, pause: Duration) {
        let at = Instant::now() + pause;
        client.timer = Some(at);
        self.timers.insert((at, key));
    }

    /// The answer is out. False: so is the client.
    fn answered(&mut self, key: usize, client: &mut Client) -> io::Result<bool> {
        if client.open {
            client.open = false;
            self.stats.open -= 1;
            self.stats.served += 1;
        }
        match client.end {
            End::Keep => client.state = State::Asking,
            End::Close => {
                // Closed with unread bytes in it, the socket would reset the connection, and the
                // client might never see the answer.
                client.socket.shutdown(Shutdown::Write)?;
                client.state = State::Draining;
                self.wake_after(key, client, GRACE);
                return Ok(!client.half_closed);
            }
            End::Reset => {
                let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                socket::setsockopt(&client.socket, sockopt::Linger, &at_once)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A client is gone, or has to go.
    fn remove(&mut self, key: usize) {
        let Some(client) = self.clients[key].take() else {
            return;
        };
        if client.open {
            self.stats.open -= 1;
            self.stats.given_up += 1;
        }
        if let Some(at) = client.timer {
            self.timers.remove(&(at, key));
        }
        if let Some(of) = client.gate
            && let Some(waiting) = self.gates.get_mut(&of)
        {
            waiting.remove(&key);
        }
        let _ = self.poller.delete(&client.socket);
        self.free.push(key);
    }
}

/// Adds a source to the poller, in level mode: an event comes for as long as there is a reason.
#[expect(unsafe_code, reason = "polling leaves the lifetime of sources to its user")]
fn watch(poller: &Poller, source: impl AsRawSource + AsSource, interest: Event) -> io::Result<()> {
    // SAFETY: a source must be deleted from the poller before it is closed. `Web::remove` does so;
    // the listener and the commands outlive the poller, which is the first field of `Web`.
    unsafe { poller.add_with_mode(source, interest, PollMode::Level) }
}

/// Whether it is enough to try again when there is an event.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[derive(Clone, Copy)]
enum State {
    /// The next request is awaited.
    Asking,
    /// The request is there, its answer is held back.
    Held,
    Answering,
    /// The last answer is out, the client has yet to close.
    Draining,
}

struct Client {
    socket: TcpStream,
    state: State,
    requests: Requests,
    out: Vec<u8>,
    /// How many bytes of `out` are sent.
    sent: usize,
    rest: Rest,
    end: End,
    /// Its request counts as open.
    open: bool,
    /// It does not take `out` at present.
    blocked: bool,
    half_closed: bool,
    drained: usize,
    timer: Option<Instant>,
    gate: Option<usize>,
}

impl Client {
    fn new(socket: TcpStream) -> Client {
        Client {
            socket,
            state: State::Asking,
            requests: Requests::default(),
            out: Vec::new(),
            sent: 0,
            rest: Rest::Nothing,
            end: End::Keep,
            open: false,
            blocked: false,
            half_closed: false,
            drained: 0,
            timer: None,
            gate: None,
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.out = answer.out;
        self.rest = answer.rest;
        self.end = answer.end;
        self.state = State::Answering;
    }

    /// Sends what there is to send. False: the client does not take it all now.
    fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if waits(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.out.clear();
        Ok(true)
    }
}

// ---- the answers ---------------------------------------------------------------------------

/// What to answer, when, and what then.
struct Answer {
    hold: Hold,
    /// The head, and the body as far as it is short.
    out: Vec<u8>,
    /// The rest of the body.
    rest: Rest,
    end: End,
}

#[derive(Clone, Copy)]
enum Hold {
    Not,
    For(Duration),
    Gate(usize),
    Forever,
}

enum Rest {
    Nothing,
    Page(Page),
    Chunks(Page),
    Drops(Page, Duration),
    Never,
}

#[derive(Clone, Copy)]
enum End {
    Keep,
    Close,
    Reset,
}

enum Refill {
    /// There is something to send.
    Now,
    /// There is something to send, after this time.
    After(Duration),
    /// Nothing more will come, but that is not the end.
    Never,
    Done,
}

impl Rest {
    /// Makes the next piece.
    fn refill(&mut self, out: &mut Vec<u8>) -> Refill {
        match self {
            Rest::Page(page) | Rest::Drops(page, _) if page.left() == 0 => return Refill::Done,
            Rest::Nothing => return Refill::Done,
            Rest::Never => return Refill::Never,
            Rest::Page(page) => page.fill(out, PIECE),
            Rest::Drops(page, every) => {
                page.fill(out, 1);
                return Refill::After(*every);
            }
            Rest::Chunks(page) => {
                let n = page.left().min(BUFFER as u64);
                out.extend_from_slice(format!("{n:x}\r\n").as_bytes());
                page.fill(out, BUFFER);
                out.extend_from_slice(b"\r\n");
                if n == 0 {
                    *self = Rest::Nothing;
                }
            }
        }
        Refill::Now
    }
}

impl Answer {
    fn raw(bytes: &[u8], end: End) -> Answer {
        Answer { hold: Hold::Not, out: bytes.to_vec(), rest: Rest::Nothing, end }
    }

    fn refused(refusal: &Refusal) -> Answer {
        let mut out = Vec::new();
        refusal.write(&mut out);
        Answer::raw(&out, End::Close)
    }

    /// A head that says how long the body is, and the body.
    fn sized(request: &Request, kind: &'static str, length: u64, rest: Rest) -> Answer {
        let mut out = Vec::new();
        let head = Head::ok(kind).length(length);
        let head = head.connection(request, !request.keep_alive);
        head.write(&mut out);
        let rest = if request.head_only { Rest::Nothing } else { rest };
        let end = if request.keep_alive { End::Keep } else { End::Close };
        Answer { hold: Hold::Not, out, rest, end }
    }

    fn page(request: &Request, n: u64) -> Answer {
        let page = Page::new(n);
        let mut answer = Answer::sized(request, "text/plain", page.left(), Rest::Page(page));
        answer.short();
        answer
    }

    /// Puts the beginning of the body behind the head, so that a short page is one packet.
    fn short(&mut self) {
        if let Rest::Page(page) = &mut self.rest {
            page.fill(&mut self.out, PIECE);
        }
    }

    /// A head that says a page ends with the connection.
    fn unsized_page(request: &Request, n: u64) -> Answer {
        let mut answer = Answer::raw(&[], End::Close);
        let head = Head::ok("text/plain").connection(request, true);
        head.write(&mut answer.out);
        if !request.head_only {
            answer.rest = Rest::Page(Page::new(n));
        }
        answer
    }

    fn chunked(request: &Request, n: u64) -> Answer {
        let mut answer = Answer::sized(request, "text/plain", 0, Rest::Chunks(Page::new(n)));
        answer.out.clear();
        let head = Head::ok("text/plain").chunked();
        let head = head.connection(request, !request.keep_alive);
        head.write(&mut answer.out);
        answer
    }

    /// Half of what the head says.
    fn half(request: &Request, n: u64) -> Answer {
        let mut page = Page::new(n);
        let length = page.left();
        let mut answer = Answer::sized(request, "text/plain", length, Rest::Nothing);
        page.fill(&mut answer.out, (length / 2) as usize);
        answer
    }
}

fn route(request: &Request) -> Result<Answer, Refusal> {
    let delay = request.delay()?;
    let missing = Refusal::new(StatusCode::NOT_FOUND, "no such page");
    let path = request.path.strip_prefix('/').unwrap_or(&request.path);
    let (name, n) = match path.split_once('/') {
        None => (path, None),
        Some((name, n)) => match number(n) {
            None => return Err(missing),
            n => (name, n),
        },
    };
    let mut answer = match (name, n) {
        ("", None) => {
            let length = INDEX.len() as u64;
            let mut answer = Answer::sized(request, "text/html", length, Rest::Nothing);
            if !request.head_only {
                answer.out.extend_from_slice(INDEX.as_bytes());
            }
            answer
        }
        ("page", Some(n)) => Answer::page(request, n),
        ("gate", Some(n)) => match request.parameter("of").and_then(number) {
            Some(of) if of > 0 => {
                Answer { hold: Hold::Gate(of as usize), ..Answer::page(request, n) }
            }
            _ => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "a gate needs ?of=K, a number above 0",
                ));
            }
        },
        // HTTP/1.0 knows no chunks.
        ("chunked", Some(n)) if !request.http10 => Answer::chunked(request, n),
        ("close" | "chunked", Some(n)) => Answer::unsized_page(request, n),
        ("old", Some(n)) => {
            Answer { out: b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), ..Answer::unsized_page(request, n) }
        }
        ("hints", Some(n)) => {
            let mut answer = Answer::page(request, n);
            let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </page/1>\r\n\r\n";
            answer.out.splice(..0, hints.iter().copied());
            answer
        }
        ("drip", Some(n)) => {
            let every = request.parameter("every").and_then(number).unwrap_or(100);
            let every = Duration::from_millis(every.min(60_000));
            let page = Page::new(n);
            let length = page.left();
            Answer::sized(request, "text/plain", length, Rest::Drops(page, every))
        }
        ("stall", None) => Answer { hold: Hold::Forever, ..Answer::raw(&[], End::Close) },
        ("stall-body", Some(n)) => Answer { rest: Rest::Never, ..Answer::half(request, n) },
        ("truncated", None) => Answer { end: End::Close, ..Answer::half(request, 2000) },
        ("malformed", None) => Answer::raw(b"HTTP/1.1 two hundred\r\n\r\n", End::Close),
        ("reset", None) => Answer::raw(&[], End::Reset),
        ("status", Some(code @ 400..=599)) => {
            let status = StatusCode::from_u16(code as u16);
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Answer::refused(&Refusal::new(status, "as was asked for").to(request))
        }
        _ => return Err(missing),
    };
    if let Hold::Not = answer.hold
        && !delay.is_zero()
    {
        answer.hold = Hold::For(delay);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::{MAX_PAGE, page};

    /// A client that has sent a GET.
    fn get(address: SocketAddr, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(address).expect("the site listens");
        let head = format!("GET {path} HTTP/1.1\r\nhost: site\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("the site reads");
        // A net: no test waits that long.
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
        socket
    }

    fn rest(mut socket: TcpStream) -> Vec<u8> {
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("an answer");
        answer
    }

    /// Asks the site until what it has counted is as it should be.
    fn until(site: &mut Site, what: impl Fn(Stats) -> bool) {
        let net = Instant::now() + Duration::from_secs(30);
        loop {
            let stats = site.stats().expect("the site answers");
            if what(stats) {
                return;
            }
            assert!(Instant::now() < net, "{stats:?}");
        }
    }

    #[test]
    fn every_way_to_send_a_page() {
        let site = Site::in_thread().expect("a site");
        for n in [0, 5000, 1_000_000] {
            for (path, before) in [
                ("page", "HTTP/1.1 200 OK\r\n"),
                ("close", "HTTP/1.1 200 OK\r\n"),
                ("old", "HTTP/1.0 200 OK\r\n\r\npage"),
                ("hints", "HTTP/1.1 103 Early Hints\r\n"),
            ] {
                let answer = rest(get(site.address(), &format!("/{path}/{n}?delay=1")));
                assert!(answer.starts_with(before.as_bytes()), "{path}");
                assert!(answer.ends_with(&page(n)), "/{path}/{n}");
            }
        }
        let drip = rest(get(site.address(), "/drip/0?every=0"));
        assert!(drip.ends_with(&page(0)));
    }

    #[test]
    fn chunks() {
        let site = Site::in_thread().expect("a site");
        let answer = rest(get(site.address(), "/chunked/5000"));
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"));
        let page = String::from_utf8(page(5000)).expect("text");
        let (one, two) = page.split_at(4096);
        assert_eq!(body, format!("1000\r\n{one}\r\n388\r\n{two}\r\n0\r\n\r\n"));
    }

    #[test]
    fn what_can_go_wrong() {
        let site = Site::in_thread().expect("a site");
        let error = TcpStream::connect(site.refused()).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let mut reset = get(site.address(), "/reset");
        let error = reset.read(&mut [0; 10]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        let truncated = String::from_utf8(rest(get(site.address(), "/truncated"))).expect("text");
        let (head, body) = truncated.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with("content-length: 2000") && body.len() == 1000);

        for (path, answer) in [
            ("/malformed", "HTTP/1.1 two hundred\r\n"),
            ("/status/404", "HTTP/1.1 404 Not Found\r\n"),
            ("/status/503?delay=1", "HTTP/1.1 503 Service Unavailable\r\n"),
            ("/status/200", "HTTP/1.1 404 Not Found\r\n"),
            ("/nothing", "HTTP/1.1 404 Not Found\r\n"),
            ("/page/x", "HTTP/1.1 404 Not Found\r\n"),
            ("/page/1?delay=x", "HTTP/1.1 400 Bad Request\r\n"),
            ("/gate/1", "HTTP/1.1 400 Bad Request\r\n"),
            ("/gate/1?of=0", "HTTP/1.1 400 Bad Request\r\n"),
        ] {
            let said = rest(get(site.address(), path));
            assert!(said.starts_with(answer.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_gate_opens_when_all_are_there() {
        let mut site = Site::in_thread().expect("a site");
        let path = |n| format!("/gate/{n}?of=100");
        for _ in 0..2 {
            site.reset().expect("the site answers");
            // Who gives up does not count.
            drop(get(site.address(), &path(0)));
            until(&mut site, |stats| stats.given_up == 1);
            let mut waiting = Vec::new();
            for n in 0..99 {
                waiting.push(get(site.address(), &path(2000 + n)));
            }
            until(&mut site, |stats| stats.open == 99);
            assert_eq!(site.stats().expect("the site answers").served, 0);
            waiting.push(get(site.address(), &path(2099)));
            for (n, socket) in waiting.into_iter().enumerate() {
                assert!(rest(socket).ends_with(&page(2000 + n as u64)));
            }
            let stats = site.stats().expect("the site answers");
            let counted =
                Stats { open: 0, most_open: 100, served: 100, given_up: 1, connections: 101 };
            assert_eq!(stats, counted);
        }
    }

    #[test]
    fn who_goes_away_is_noticed() {
        let mut site = Site::in_thread().expect("a site");
        for path in ["/stall", "/stall-body/5000", "/drip/1?every=60000", "/page/1?delay=60000"] {
            site.reset().expect("the site answers");
            let socket = get(site.address(), path);
            until(&mut site, |stats| stats.open == 1);
            drop(socket);
            until(&mut site, |stats| stats.open == 0 && stats.given_up == 1);
        }
    }

    #[test]
    fn keep_alive_and_head() {
        let site = Site::in_thread().expect("a site");
        let mut socket = TcpStream::connect(site.address()).expect("the site listens");
        let head = "HEAD /page/2000 HTTP/1.1\r\nhost: h\r\n\r\n";
        let more = "GET /chunked/0 HTTP/1.1\r\nhost: h\r\n\r\n";
        let last = "GET /page/3000 HTTP/1.0\r\n\r\n";
        let asked = head.to_owned() + more + last;
        socket.write_all(asked.as_bytes()).expect("the site reads");
        let answers = String::from_utf8(rest(socket)).expect("text");
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
        assert!(answers.as_bytes().ends_with(&page(3000)));
    }

    #[test]
    fn half_a_connection_gets_its_long_page() {
        let site = Site::in_thread().expect("a site");
        let socket = get(site.address(), "/page/16777216");
        socket.shutdown(Shutdown::Write).expect("it is open");
        assert!(rest(socket).ends_with(&page(MAX_PAGE)));
    }

    #[test]
    fn statistics_travel_as_a_line() {
        let stats = Stats { open: 1, most_open: 2, served: 3, given_up: 4, connections: 5 };
        assert_eq!(Stats::parse(&stats.line()), Some(stats));
        assert_eq!(Stats::parse("open=x"), None);
    }
}
