//! Lines, cut at any place.

use std::cell::RefCell;
use std::rc::Rc;

use super::connection::{pump, talker};
use super::*;
use crate::twisted::clock::Clock;
use crate::twisted::io_pump::IoPump;
use crate::twisted::line_receiver::{LineProtocol, LineReceiver, Lines};
use crate::twisted::transport::Transport;

/// Notes lines and raw bytes, and follows commands in the lines.
struct Reader(Log);

impl LineProtocol for Reader {
    const MAX_LENGTH: usize = 8;

    fn line_received(&mut self, lines: &Lines, line: &[u8]) {
        self.0.note(String::from_utf8_lossy(line));
        match line {
            b"raw" => lines.set_raw_mode(),
            b"pause" => lines.pause_producing(),
            b"bye" => lines.lose_connection(),
            b"echo" => lines.send_line(b"echoed"),
            _ => {}
        }
    }

    fn raw_data_received(&mut self, lines: &Lines, data: &[u8]) {
        let end = data.iter().position(|&byte| byte == b'.');
        let (raw, rest) = data.split_at(end.unwrap_or(data.len()));
        self.0.note(format!("raw {}", String::from_utf8_lossy(raw)));
        if let Some((_, rest)) = rest.split_first() {
            lines.set_line_mode(rest);
        }
    }

    fn line_length_exceeded(&mut self, lines: &Lines, line: &[u8]) {
        self.0.note(format!("too long: {}", line.len()));
        lines.lose_connection();
    }
}

fn read(input: &'static [u8]) -> Vec<String> {
    let (client, _) = talker(input, |_, _| {});
    let log = Log::default();
    pump(client, LineReceiver::new(Reader(log.clone()))).flush();
    log.taken()
}

#[test]
fn lines_arrive_one_by_one_however_they_are_cut() {
    assert_eq!(read(b"a\r\n\r\nbc\r\nno end"), ["a", "", "bc"]);
    for capacity in 1..10 {
        let (client, _) = talker(b"one\r\ntwo\rx\r\nraw\r\nr\r\nw.three\r\n", |_, _| {});
        let log = Log::default();
        let reader = LineReceiver::new(Reader(log.clone()));
        IoPump::connect(client, reader, &Clock::new(), capacity).flush();
        let heard = log.taken();
        let raw: String = heard.iter().filter_map(|words| words.strip_prefix("raw ")).collect();
        let lines: Vec<&String> = heard.iter().filter(|words| !words.starts_with("raw ")).collect();
        assert_eq!(lines, ["one", "two\rx", "raw", "three"], "{capacity} bytes at a time");
        assert_eq!(raw, "r\r\nw");
    }
}

#[test]
fn a_line_of_max_length_is_a_line_and_one_byte_more_is_too_much() {
    assert_eq!(read(b"12345678\r\nx\r\n"), ["12345678", "x"]);
    assert_eq!(read(b"123456789\r\nx\r\n"), ["too long: 14"]);
}

#[test]
fn a_line_without_an_end_is_too_long_at_the_limit() {
    let (client, _) = talker(&[b'x'; 5000], |_, _| {});
    let log = Log::default();
    let reader = LineReceiver::new(Reader(log.clone()));
    IoPump::connect(client, reader, &Clock::new(), 4).flush();
    assert_eq!(log.taken(), ["too long: 12"]);
}

#[test]
fn no_line_is_passed_on_after_lose_connection() {
    assert_eq!(read(b"a\r\nbye\r\nafter\r\n"), ["a", "bye"]);
}

#[test]
fn lines_that_have_arrived_wait_while_paused_and_are_passed_on_when_resumed() {
    struct Pauses(Log, Rc<RefCell<Option<Transport>>>);
    impl LineProtocol for Pauses {
        fn line_received(&mut self, lines: &Lines, line: &[u8]) {
            self.0.note(String::from_utf8_lossy(line));
            lines.pause_producing();
            *self.1.borrow_mut() = Some(Transport::clone(lines));
        }
    }

    let (client, _) = talker(b"1\r\n2\r\n3\r\n", |_, _| {});
    let (log, transport) = (Log::default(), Rc::default());
    let reader = LineReceiver::new(Pauses(log.clone(), Rc::clone(&transport)));
    let mut pump = pump(client, reader);
    for n in ["1", "2", "3"] {
        pump.flush();
        assert_eq!(log.taken(), [n]);
        transport.borrow().as_ref().expect("a line was there").resume_producing();
    }
}

#[test]
fn send_line_adds_the_delimiter() {
    let (client, heard) = talker(b"echo\r\nbye\r\n", |_, _| {});
    pump(client, LineReceiver::new(Reader(Log::default()))).flush();
    assert_eq!(heard.taken(), ["echoed\r\n", "closed"]);
}

/// Requests lines of its own in every method, and notes what comes.
struct Anywhere(Log);

impl Anywhere {
    fn ask(&self, lines: &Lines, place: &str) {
        self.0.note(place);
        lines.set_line_mode(b"rest\r\n");
    }
}

impl LineProtocol for Anywhere {
    fn connection_made(&mut self, lines: &Lines) {
        lines.set_timeout(Some(SECOND));
        self.ask(lines, "made");
    }
    fn line_received(&mut self, lines: &Lines, line: &[u8]) {
        self.0.note(String::from_utf8_lossy(line));
        if line == b"line" {
            lines.set_line_mode(b"after\r\n");
        }
    }
    fn timeout_connection(&mut self, lines: &Lines) {
        self.ask(lines, "timeout");
    }
    fn read_connection_lost(&mut self, lines: &Lines) {
        self.ask(lines, "read lost");
    }
    fn connection_failed(&mut self, reason: std::io::Error) {
        self.0.note(format!("failed: {}", reason.kind()));
    }
}

#[test]
fn what_set_line_mode_is_given_is_delivered_wherever_it_is_called() {
    struct Once;
    impl crate::twisted::protocol::Protocol for Once {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write(b"line\r\nnext\r\n");
        }
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
        fn timeout_connection(&mut self, _: &Transport) {}
    }

    let (clock, log) = (Clock::new(), Log::default());
    let receiver = LineReceiver::new(Anywhere(log.clone()));
    let mut pump = IoPump::connect(Once, receiver, &clock, 1024);
    pump.flush();
    assert_eq!(log.taken(), ["made", "rest", "line", "next", "after"]);
    clock.advance(SECOND);
    pump.flush();
    assert_eq!(log.taken(), ["timeout", "rest"]);
}

#[test]
fn a_line_receiver_is_told_that_the_peer_sends_no_more() {
    struct Done(super::connection::Talker);
    impl crate::twisted::protocol::Protocol for Done {
        fn connection_made(&mut self, transport: &Transport) {
            self.0.connection_made(transport);
            transport.lose_write_connection();
        }
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    }
    let (client, _) = talker(b"line\r\n", |_, _| {});
    let log = Log::default();
    pump(Done(client), LineReceiver::new(Anywhere(log.clone()))).flush();
    let heard = log.taken();
    assert_eq!(heard, ["made", "rest", "line", "after", "read lost", "rest"]);
}

#[test]
fn a_line_receiver_is_told_that_there_never_was_a_connection() {
    let log = Log::default();
    let mut receiver = LineReceiver::new(Anywhere(log.clone()));
    let refused = std::io::ErrorKind::ConnectionRefused.into();
    crate::twisted::protocol::Protocol::connection_failed(&mut receiver, refused);
    assert_eq!(log.taken(), ["failed: connection refused"]);
}
