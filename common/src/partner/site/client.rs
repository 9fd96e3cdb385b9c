//! A connection of the site.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::http::request::Requests;
use crate::partner::poller::would_block;
use crate::partner::site::answers::{Answer, End, Refill, Rest};

#[derive(Clone, Copy)]
pub enum State {
    /// The next request is awaited.
    Asking,
    /// The request has arrived, its answer is held back.
    Held,
    Answering,
    /// The last answer is sent, the client has not closed yet.
    Draining,
}

pub struct Client {
    pub socket: TcpStream,
    pub state: State,
    pub requests: Requests,
    out: Vec<u8>,
    /// How many bytes of `out` are sent.
    sent: usize,
    rest: Rest,
    pub end: End,
    /// Its request counts as open.
    pub open: bool,
    /// The client does not take more of `out` at the moment.
    pub blocked: bool,
    pub half_closed: bool,
    pub drained: usize,
    pub timer: Option<Instant>,
    pub gate: Option<usize>,
}

impl Client {
    pub fn new(socket: TcpStream) -> Client {
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

    pub fn answer(&mut self, answer: Answer) {
        self.out = answer.out;
        self.rest = answer.rest;
        self.end = answer.end;
        self.state = State::Answering;
    }

    /// Makes the next piece of the answer.
    pub fn refill(&mut self) -> Refill {
        self.rest.refill(&mut self.out)
    }

    /// Sends as much as possible. False: the client does not take all of it now.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if would_block(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.out.clear();
        Ok(true)
    }
}
