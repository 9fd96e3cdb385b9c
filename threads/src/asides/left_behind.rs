//! left-behind: no thread can be killed. After a timeout it stays behind, with its socket.
//! What to do instead: `early_results.rs` shuts its socket down, `deadline.rs` tells it in advance.
//! Run it: cargo run -p threads -- left-behind

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::registry::Flags;
use common::report::section::Section;
use common::span::{Kind, Span, now};

use super::limit::no_thread;

/// How long to wait for an answer, and how long the thread is then left behind.
const TIMEOUT: Duration = Duration::from_millis(100);

pub fn careless(_: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = show(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

/// Stops waiting after the timeout, and does nothing else: the thread goes on.
fn show(section: &mut Section) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut socket = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?; // it never sends anything
    let (sender, answers) = channel();
    let from = now();
    let reads = move || {
        let n = socket.read(&mut [0])?;
        let _ = sender.send(n); // an error: the receiver has timed out
        io::Result::Ok((n, Span::here(1, Kind::Waiting, from, now())))
    };
    let task = thread::Builder::new().spawn(reads).map_err(no_thread)?;
    let answer = answers.recv_timeout(TIMEOUT);
    let waited = Span::here(0, Kind::Waiting, from, now());
    thread::sleep(TIMEOUT); // for the picture: nothing ends the thread in this time
    let still_there = !task.is_finished();
    // Neither std nor the kernel can end the thread. But its connection can be closed.
    drop(peer);
    let (n, read) = task.join().expect("reading does not panic")?;

    section.answer = vec![
        format!("after {TIMEOUT:?}: {}, no longer waited for", either(answer, "no answer")),
        format!("the thread and its socket: {}", if still_there { "still there" } else { "gone" }),
        format!("the peer closes the connection: the thread reads {n} bytes, and ends"),
    ];
    section.wrong = (!still_there || n > 0).then(|| "the thread ended before its peer".into());
    let (waited_ms, read_ms) = (milliseconds(&waited), milliseconds(&read));
    section.measure("waited_ms", waited_ms.into());
    section.measure("thread_lived_ms", read_ms.into());
    section.spans = vec![waited, read];
    section.draw();
    section.shown.push(format!("  0  the caller, which waits for {waited_ms:.0} ms"));
    section
        .shown
        .push(format!("  1  the thread that reads: {read_ms:.0} ms, until its peer closes"));
    Ok(())
}

fn either<E>(answer: Result<usize, E>, none: &str) -> String {
    answer.map_or_else(|_| none.to_owned(), |n| format!("an answer of {n} bytes"))
}

fn milliseconds(span: &Span) -> f64 {
    (span.to_us - span.from_us) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_goes_on_until_its_peer_closes() {
        let mut section = Section::default();
        show(&mut section).unwrap();
        assert!(section.wrong.is_none(), "{:?}", section.wrong);
        assert!(section.answer[1].ends_with("still there"), "{:?}", section.answer);
        let [waited, read] = &section.spans[..] else { panic!("{:?}", section.spans) };
        assert!(waited.to_us < read.to_us && waited.thread != read.thread);
        assert_eq!(section.shown.len(), 6, "{:?}", section.shown);
    }
}
