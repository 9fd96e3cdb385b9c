//! The running site: one thread, one poll loop.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{self, sockopt};
use polling::{Event, Events, Poller};

use crate::http::conn::MAX_DRAIN;
use crate::http::request::Next;
use crate::limits::BUFFER;
use crate::partner::poller::{add, modify, would_block};
use crate::partner::site::answers::{Answer, End, Hold, Refill, route};
use crate::partner::site::client::{Client, State};
use crate::partner::site::control::{Command, Control, Stats};

/// How long a client has to close after its last answer.
const GRACE: Duration = Duration::from_secs(1);

/// The keys of the two sources that are not clients.
const LISTENER: usize = usize::MAX - 1;
const COMMANDS: usize = usize::MAX - 2;

/// How long accepting pauses when there are no descriptors left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The running site.
pub struct Web {
    /// Dropped first, while all its sources are still open.
    poller: Poller,
    listener: TcpListener,
    control: Control,
    /// By key.
    clients: Vec<Option<Box<Client>>>,
    free: Vec<usize>,
    /// Clients that can go on without a new event.
    ready: Vec<usize>,
    timers: BTreeSet<(Instant, usize)>,
    /// The clients that wait at each gate.
    gates: BTreeMap<usize, BTreeSet<usize>>,
    stats: Stats,
}

impl Web {
    pub fn new(listener: TcpListener, control: Control) -> io::Result<Web> {
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
        add(&web.poller, &web.listener, Event::readable(LISTENER))?;
        match add(&web.poller, &web.control.commands, Event::readable(COMMANDS)) {
            // A file, or /dev/null: it cannot be polled.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && web.control.lives_on => {}
            result => result?,
        }
        Ok(web)
    }

    /// The loop: waits for events, then lets every client that can go on do so.
    pub fn run(&mut self) -> io::Result<()> {
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
                    // An error: this client has already disconnected. The site goes on.
                    let _ = self.register(socket);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    // Out of descriptors or memory. The listener stays readable: without a
                    // pause the loop would spin.
                    _ => {
                        self.timers.insert((Instant::now() + ACCEPT_BACKOFF, LISTENER));
                        return modify(&self.poller, &self.listener, Event::none(LISTENER));
                    }
                },
            }
        }
    }

    fn register(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?; // a single byte must be sent immediately
        let key = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        if let Err(error) = add(&self.poller, &socket, Event::readable(key)) {
            self.free.push(key);
            return Err(error);
        }
        self.clients[key] = Some(Box::new(Client::new(socket)));
        Ok(())
    }

    /// Reads and answers commands. False: no more will arrive, and the site ends.
    fn command(&mut self) -> io::Result<bool> {
        match self.control.read() {
            Ok(true) => {}
            Ok(false) => {
                self.poller.delete(&self.control.commands)?;
                return Ok(self.control.lives_on);
            }
            Err(error) if would_block(&error) => return Ok(true),
            Err(error) => return Err(error),
        }
        while let Some(command) = self.control.command() {
            let answer = match command {
                Command::Stats => serde_json::to_string(&self.stats)?,
                Command::Reset => {
                    let open = self.stats.open;
                    self.stats = Stats { open, most_open: open, ..Stats::default() };
                    "ok".into()
                }
                Command::Unknown => "commands: stats, reset".into(),
            };
            self.control.say(&answer)?;
        }
        Ok(true)
    }

    /// Handles all clients whose time has come.
    fn expire(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(&(at, key)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if key == LISTENER {
                modify(&self.poller, &self.listener, Event::readable(LISTENER))?;
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
            // The client may have closed only its sending side: an answer that is partly sent is
            // completed. One that has not begun is not: most probably the client is gone.
            Ok(0) if client.blocked => {
                client.half_closed = true;
                if modify(&self.poller, &client.socket, Event::writable(key)).is_err() {
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
            Err(error) if would_block(&error) => {}
            Err(_) => self.remove(key),
        }
    }

    /// Lets a client go on as far as it can.
    fn step(&mut self, key: usize) {
        // Taken out of the table, so that both can be changed.
        let Some(mut client) = self.clients[key].take() else {
            return;
        };
        let stays = self.advance(key, &mut client);
        self.clients[key] = Some(client);
        if !stays.unwrap_or(false) {
            self.remove(key);
        }
    }

    /// Goes on until it has to wait. False, or an error: the connection is over.
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
                        modify(&self.poller, &client.socket, interest)?;
                    }
                    if blocked {
                        return Ok(true);
                    }
                    match client.refill() {
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

    /// Holds an answer back until its time comes, or its gate opens.
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

    /// Lets a client that was held back go on, in the next turn.
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

    /// The answer is sent. False: the connection is over.
    fn answered(&mut self, key: usize, client: &mut Client) -> io::Result<bool> {
        if client.open {
            client.open = false;
            self.stats.open -= 1;
            self.stats.served += 1;
        }
        match client.end {
            End::Keep => client.state = State::Asking,
            End::Close => {
                // If it were closed with unread bytes in it, the socket would reset the connection,
                // and the client might never see the answer.
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

    /// Removes a client and closes its connection.
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
