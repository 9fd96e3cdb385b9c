//! io-bound: fetch every page at the same time.
//! One greenlet per page, all on one thread: before each call that would block, it waits.
//! Run it: cargo run -p coroutines -- io-bound

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::vec::IntoIter;

use common::http::get::Get;
use common::limits::BUFFER;
use common::workload::io_bound::{Job, Outcome};

use crate::coroutine::scheduler;
use crate::coroutine::wait::{self, readable, wait};

pub fn run(jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(scheduler::spawn(move || fetch(job)));
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
        wait(readable(&socket), get.deadline())?;
        let n = socket.read(&mut buf)?;
        get.received(&buf[..n])?;
    }
    Ok(())
}

/// A name may have several addresses: they are tried in order until there is a connection.
fn connect(get: &Get) -> io::Result<TcpStream> {
    let mut socket = Err(io::ErrorKind::NotFound.into());
    for address in get.addresses() {
        socket = wait::connect(*address, get.deadline());
        if socket.is_ok() {
            break;
        }
    }
    socket
}

/// The same with `at_once` workers that take their jobs from one queue.
pub fn bounded(jobs: Vec<Job>, at_once: usize) -> Vec<Outcome> {
    let queue = Rc::new(RefCell::new(jobs.into_iter()));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let queue = queue.clone();
        tasks.push(scheduler::spawn(move || work(&queue)));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.extend(task.join().expect("fetch catches its errors"));
    }
    outcomes.sort_by_key(|outcome: &Outcome| outcome.task);
    outcomes
}

fn work(queue: &RefCell<IntoIter<Job>>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        // No lock: nothing else runs between two waits. But a borrow must end before the next one.
        let job = queue.borrow_mut().next();
        match job {
            Some(job) => outcomes.push(fetch(job)),
            None => return outcomes,
        }
    }
}
