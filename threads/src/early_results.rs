//! early-results: take each page as it arrives, then cancel the rest.
//! One thread per page. A thread cannot be killed: to cancel its page, its socket is shut down.
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

use crate::io_bound::connect;

pub fn run(jobs: Vec<Job>, arrivals: &mut Arrivals) {
    let (sender, outcomes) = channel();
    let mut tasks = Vec::new();
    for job in jobs {
        let (sender, handle) = (sender.clone(), Arc::new(CancelHandle::default()));
        let theirs = handle.clone();
        let task = thread::spawn(move || deliver(job, &theirs, &sender));
        tasks.push((task, handle));
    }
    drop(sender);
    while let Ok(outcome) = outcomes.recv() {
        if arrivals.push(outcome).is_break() {
            break;
        }
    }
    for (task, handle) in tasks {
        handle.cancel();
        task.join().expect("fetch catches its errors");
    }
}

fn deliver(job: Job, handle: &CancelHandle, outcomes: &Sender<Outcome>) {
    let mut get = Get::new(job);
    let result = exchange(&mut get, handle);
    // An error means that the consumer has stopped.
    let _ = outcomes.send(get.outcome(result));
}

fn exchange(get: &mut Get, handle: &CancelHandle) -> io::Result<()> {
    let mut socket = handle.keep(connect(get)?)?;
    socket.write_all(get.request())?;
    let mut buf = [0; BUFFER];
    while get.wants_more() {
        socket.set_read_timeout(Some(get.time_left()?))?;
        let n = socket.read(&mut buf)?;
        get.received(&buf[..n])?;
    }
    Ok(())
}

/// The socket that a thread waits for, shared with the thread that cancels its page.
#[derive(Default)]
struct CancelHandle {
    socket: OnceLock<TcpStream>,
    cancelled: AtomicBool,
}

impl CancelHandle {
    fn keep(&self, socket: TcpStream) -> io::Result<&TcpStream> {
        let socket = self.socket.get_or_init(|| socket);
        // Checked after the socket is stored: either `cancel` finds it, or this finds the flag.
        if self.cancelled.load(SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(socket)
    }

    fn cancel(&self) {
        self.cancelled.store(true, SeqCst);
        if let Some(socket) = self.socket.get() {
            // This ends the call that waits for it. An error: the peer has already disconnected.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
