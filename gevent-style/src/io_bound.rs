//! io-bound: fetch every page at the same time.
//! One greenlet per page, all on one thread: each call that would block switches to the hub.
//! Run it: cargo run -p gevent-style -- io-bound

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::vec::IntoIter;

use common::http::get::Get;
use common::limits::BUFFER;
use common::workload::io_bound::{Job, Outcome};

use crate::gevent::greenlet;

pub fn run(jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(greenlet::spawn(move || fetch(job)));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.join().expect("fetch catches its errors"));
    }
    outcomes
}

pub fn fetch(job: Job) -> Outcome {
    let mut get = Get::new(job);
    let result = exchange(&mut get);
    get.outcome(result)
}

fn exchange(get: &mut Get) -> io::Result<()> {
    let mut socket = connect(get)?;
    socket.write_all(get.request())?;
    let mut buf = [0; BUFFER];
    while get.wants_more() {
        // What is left of the page's time: a fixed read timeout would restart with every byte.
        socket.set_read_timeout(Some(get.time_left()?))?;
        let n = socket.read(&mut buf)?;
        get.received(&buf[..n])?;
    }
    Ok(())
}

/// A name may have several addresses: they are tried in order until there is a connection.
fn connect(get: &Get) -> io::Result<TcpStream> {
    let mut socket = Err(io::ErrorKind::NotFound.into());
    for address in get.addresses() {
        socket = TcpStream::connect_timeout(address, get.time_left()?);
        if socket.is_ok() {
            break;
        }
    }
    socket
}

/// The same with `at_once` workers that take their jobs from one queue.
pub fn bounded(jobs: Vec<Job>, at_once: usize) -> Vec<Outcome> {
    let queue = Arc::new(Mutex::new(jobs.into_iter()));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let queue = queue.clone();
        tasks.push(greenlet::spawn(move || work(&queue)));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.extend(task.join().expect("fetch catches its errors"));
    }
    outcomes.sort_by_key(|outcome: &Outcome| outcome.task);
    outcomes
}

fn work(queue: &Mutex<IntoIter<Job>>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        // The lock is released at the end of this statement, before the page is fetched.
        let job = queue.lock().expect("no holder panics").next();
        match job {
            Some(job) => outcomes.push(fetch(job)),
            None => return outcomes,
        }
    }
}
