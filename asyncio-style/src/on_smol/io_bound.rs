//! io-bound: fetch every page at the same time.
//! One task per page, all on one thread: `.await` hands the thread back to the loop.
//! Run it: cargo run -p asyncio-style -- --loop smol io-bound

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::vec::IntoIter;

use smol::future::FutureExt;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

use common::http::get::Get;
use common::limits::BUFFER;
use common::workload::io_bound::{Job, Outcome};

use super::{late, task};

pub async fn run(jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(task::spawn_local(fetch(job)));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await);
    }
    outcomes
}

pub async fn fetch(job: Job) -> Outcome {
    let mut get = Get::new(job);
    let deadline = get.deadline();
    let result = exchange(&mut get).or(late(deadline)).await;
    get.outcome(result)
}

async fn exchange(get: &mut Get) -> io::Result<()> {
    let mut socket = connect(get).await?;
    socket.write_all(get.request()).await?;
    let mut buf = [0; BUFFER];
    while get.wants_more() {
        let n = socket.read(&mut buf).await?;
        get.received(&buf[..n])?;
    }
    Ok(())
}

/// A name may have several addresses: they are tried in order until there is a connection.
async fn connect(get: &Get) -> io::Result<TcpStream> {
    let mut socket = Err(io::ErrorKind::NotFound.into());
    for address in get.addresses() {
        socket = TcpStream::connect(address).await;
        if socket.is_ok() {
            break;
        }
    }
    socket
}

/// The same with `at_once` workers that take their jobs from one queue.
pub async fn bounded(jobs: Vec<Job>, at_once: usize) -> Vec<Outcome> {
    let queue = Rc::new(RefCell::new(jobs.into_iter()));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let queue = queue.clone();
        tasks.push(task::spawn_local(work(queue)));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.extend(task.await);
    }
    outcomes.sort_by_key(|outcome: &Outcome| outcome.task);
    outcomes
}

async fn work(queue: Rc<RefCell<IntoIter<Job>>>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        // No lock: nothing else runs between two awaits. But a borrow must end before the next one.
        let job = queue.borrow_mut().next();
        match job {
            Some(job) => outcomes.push(fetch(job).await),
            None => return outcomes,
        }
    }
}
