//! Where each style waits: the calls that the page underlines twice.

use crate::tokens::{Class, Token, lines};

/// The waiting calls of a style, as they are in its code. In Twisted's style a function never
/// waits: the places that register a callback are marked, and the callbacks.
struct Waits {
    style: &'static str,
    calls: &'static [&'static str],
}

#[rustfmt::skip]
const WAITS: [Waits; 8] = [
    Waits { style: "threads", calls: &[
        ".join", "connect", "TcpStream::connect_timeout", ".read", ".write", ".write_all", ".recv", ".lock", ".wait",
        ".wait_timeout_while", "thread::sleep", "thread::park", "thread::yield_now", ".accept",
        "io::copy",
    ] },
    Waits { style: "processes", calls: &[
        ".join", "connect", "TcpStream::connect_timeout", ".read", ".read_exact", ".read_to_string", ".write", ".write_all",
        ".wait", "poll", "thread::sleep", "thread::yield_now", ".lock", ".wait_stopped",
    ] },
    Waits { style: "coroutines", calls: &[
        ".join", "wait", "wait_any", "connect", ".wait", "yield_now", "scheduler::yield_now", "scheduler::sleep",
        ".recv", ".acquire",
    ] },
    Waits { style: "gevent-style", calls: &[
        ".join", "connect", "TcpStream::connect_timeout", ".read", ".read_exact", ".write", ".write_all", ".recv", ".lock",
        ".wait", ".wait_timeout_while", "thread::sleep", "thread::yield_now", ".accept", "io::copy",
    ] },
    Waits { style: "twisted-style", calls: &[
        ".add_callback", ".add_errback", ".run_until", ".run", ".call_later", ".defer_to_thread", ".connect_tcp",
        ".listen_tcp", ".add_reader", "fn connection_made", "fn data_received", "fn connection_lost",
        "fn read_connection_lost", "fn resume_producing", "fn timeout_connection",
    ] },
    Waits { style: "on_tokio", calls: &[".await"] },
    Waits { style: "on_async_std", calls: &[".await"] },
    Waits { style: "on_smol", calls: &[".await"] },
];

/// The waiting calls of one style, ready to be looked for.
pub struct Finder {
    patterns: Vec<Vec<Token>>,
}

impl Finder {
    /// None for a style without a row.
    pub fn of(style: &str) -> Option<Finder> {
        let row = WAITS.iter().find(|row| row.style == style)?;
        let tokens = |call: &&str| lines(call).remove(0);
        Some(Finder { patterns: row.calls.iter().map(tokens).collect() })
    }

    /// How many calls the style's row has.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Which of them are in this line, kept in `seen`.
    #[cfg(test)]
    pub fn mark_seen(&self, line: &[Token], seen: &mut [bool]) {
        for (pattern, seen) in self.patterns.iter().zip(seen) {
            *seen |= (0..line.len()).any(|at| ends_at(pattern, line, at));
        }
    }

    /// Those that were not seen, as they are listed.
    #[cfg(test)]
    pub fn unseen(&self, seen: &[bool]) -> impl Iterator<Item = String> {
        let text = |pattern: &Vec<Token>| pattern.iter().map(|t| t.text.as_str()).collect();
        let patterns = self.patterns.iter().zip(seen.to_vec());
        patterns.filter(|(_, seen)| !seen).map(move |(pattern, _)| text(pattern))
    }

    /// The tokens of a line that name a waiting call.
    pub fn in_line(&self, line: &[Token]) -> Vec<usize> {
        (0..line.len()).filter(|&at| self.patterns.iter().any(|p| ends_at(p, line, at))).collect()
    }
}

/// Whether the pattern ends with the token `at`, and that name is called there.
fn ends_at(pattern: &[Token], line: &[Token], at: usize) -> bool {
    let (last, before) = pattern.split_last().expect("no pattern is empty");
    let is_called = line.get(at + 1).is_some_and(|next| next.is("("));
    if !line[at].is(&last.text) || !(is_called || last.is("await")) {
        return false;
    }
    let Some(from) = at.checked_sub(before.len()) else { return false };
    if !before.iter().zip(&line[from..at]).all(|(wanted, found)| found.is(&wanted.text)) {
        return false;
    }
    // A bare name is not the end of a path, a method or a definition.
    let previous = previous(line, from);
    !before.is_empty()
        || !previous.is_some_and(|token| [".", ":", "fn"].iter().any(|t| token.is(t)))
}

fn previous(line: &[Token], at: usize) -> Option<&Token> {
    line[..at].iter().rev().find(|token| token.class != Class::Blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(style: &str, line: &str) -> Vec<String> {
        let tokens = lines(line).remove(0);
        let finder = Finder::of(style).expect("every style has a row");
        finder.in_line(&tokens).into_iter().map(|at| tokens[at].text.clone()).collect()
    }

    #[test]
    fn a_wait_is_a_call() {
        assert_eq!(found("threads", "let n = socket.read(&mut buf)?;"), ["read"]);
        assert_eq!(found("threads", "    let read = socket;"), [""; 0]);
        assert_eq!(found("threads", "thread::sleep(pause);"), ["sleep"]);
        assert_eq!(found("threads", "// task.join() waits"), [""; 0]);
    }

    #[test]
    fn a_bare_name_is_no_method_and_no_definition() {
        assert_eq!(found("coroutines", "wait(readable(&socket), deadline)?;"), ["wait"]);
        assert_eq!(found("coroutines", "fn wait(gate: &Event) {"), [""; 0]);
        assert_eq!(found("coroutines", "other::wait(gate)"), [""; 0]);
        assert_eq!(found("coroutines", "gate.wait().expect(\"it opens\")"), ["wait"]);
    }

    #[test]
    fn an_await_needs_no_parentheses() {
        assert_eq!(found("on_tokio", "let n = socket.read(&mut buf).await?;"), ["await"]);
    }

    #[test]
    fn in_twisted_the_callback_itself_is_marked() {
        let line = "    fn data_received(&mut self, socket: &Transport, buf: &[u8]) {";
        assert_eq!(found("twisted-style", line), ["data_received"]);
        assert_eq!(found("twisted-style", "done.add_callback(|()| lost())"), ["add_callback"]);
    }
}
