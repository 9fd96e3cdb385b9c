//! io-bound: fetch every page at the same time.
//! One process per page: the OS parks a process that waits and wakes it when there is an answer.
//! Run it: cargo run -p processes -- io-bound

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::http::get::Get;
use common::limits::BUFFER;
use common::workload::io_bound::{Job, Outcome};

use crate::multiprocessing::process;
use crate::multiprocessing::shared_memory::Shared;

pub fn run(jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(process::spawn(move || fetch(job)));
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
    // Every worker has its own copy of the jobs; what they share is the number of the next one.
    let queue = Shared::new([AtomicUsize::new(0)]).expect("there is a page of memory left");
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        tasks.push(process::spawn(|| work(&queue[0], &jobs)));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.extend(task.join().expect("fetch catches its errors"));
    }
    outcomes.sort_by_key(|outcome: &Outcome| outcome.task);
    outcomes
}

fn work(queue: &AtomicUsize, jobs: &[Job]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        let job = jobs.get(queue.fetch_add(1, Relaxed)).cloned();
        match job {
            Some(job) => outcomes.push(fetch(job)),
            None => return outcomes,
        }
    }
}
