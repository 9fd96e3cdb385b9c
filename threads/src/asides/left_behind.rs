//! left-behind: no thread can be killed. Who only stops waiting leaves it behind, with its socket.
//! What to do instead: `early_results.rs` hangs its socket up, `control.rs` tells it in advance.
//! Run it: cargo run -p threads -- left-behind

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::registry::Flags;
use common::report::section::Section;

/// Stops waiting when the time is up, and that is all it does: the thread goes on.
pub fn careless(_: &Flags) -> Section {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = silent.local_addr().expect("it is bound");
    let (sender, answers) = channel();
    let task = thread::spawn(move || {
        let mut socket = TcpStream::connect(address)?;
        let n = socket.read(&mut [0]);
        let _ = sender.send(());
        n
    });
    let answer = answers.recv_timeout(Duration::from_millis(100));
    let still_there = !task.is_finished();
    // No call of std's or the kernel's ends it. What it waits for can be ended: its connection.
    drop(silent);
    let ended = task.join().expect("reading does not panic");
    Section {
        answer: vec![
            format!("given up after 100 ms: no answer: {}", answer.is_err()),
            format!("the thread, and its socket, are still there: {still_there}"),
            format!(
                "ended when the peer was gone: {}",
                ended.is_err() || ended.is_ok_and(|n| n == 0)
            ),
        ],
        wrong: (!still_there).then(|| "a thread was killed".into()),
        ..Section::default()
    }
}
