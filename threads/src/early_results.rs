//! early-results: take each page the moment it is there, and call the rest off.
//! One thread a page. No thread can be killed: whoever calls it off hangs up its socket instead.
//! Run it: cargo run -p threads -- early-results

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use common::http::get::Get;
use common::limits::BUFFER;
use common::workload::early_results::Arrivals;
use common::workload::io_bound::{Job, Outcome};

pub fn run(jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let (sender, outcomes) = channel();
    let mut tasks = Vec::new();
    for job in jobs {
        let (sender, line) = (sender.clone(), Arc::new(Line::default()));
        let theirs = Arc::clone(&line);
        let task = thread::spawn(move || deliver(job, &theirs, &sender));
        tasks.push((task, line));
    }
    drop(sender);
    while let Ok(outcome) = outcomes.recv() {
        if arrivals.push(outcome).is_break() {
            break;
        }
    }
    for (task, line) in tasks {
        line.hang_up();
        task.join().expect("fetch catches its errors");
    }
}

fn deliver(job: Job, line: &Line, outcomes: &Sender<Outcome>) {
    let mut get = Get::new(job);
    let result = exchange(&mut get, line);
    // An error means that nobody wants it any more.
    let _ = outcomes.send(get.outcome(result));
}

fn exchange(get: &mut Get, line: &Line) -> io::Result<()> {
    let patience = get.patience()?;
    let socket = TcpStream::connect_timeout(&get.address(), patience)?;
    let mut socket = line.keep(socket)?;
    socket.write_all(get.request())?;
    let mut buf = [0; BUFFER];
    while get.wants_more() {
        socket.set_read_timeout(Some(get.patience()?))?;
        let n = socket.read(&mut buf)?;
        get.received(&buf[..n])?;
    }
    Ok(())
}

/// A socket that its thread waits for, in reach of whoever calls the page off.
#[derive(Default)]
struct Line {
    socket: OnceLock<TcpStream>,
    called_off: AtomicBool,
}

impl Line {
    fn keep(&self, socket: TcpStream) -> io::Result<&TcpStream> {
        let socket = self.socket.get_or_init(|| socket);
        // Looked at after the socket is in reach: hanging up either finds it or is seen here.
        if self.called_off.load(SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(socket)
    }

    fn hang_up(&self) {
        self.called_off.store(true, SeqCst);
        if let Some(socket) = self.socket.get() {
            // The call that waits for it returns. An error: the peer has gone already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
