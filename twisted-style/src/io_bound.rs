//! io-bound: fetch every page at the same time.
//! One protocol per page, all on one thread: the reactor calls it when something has happened.
//! Run it: cargo run -p twisted-style -- io-bound

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::vec::IntoIter;

use common::http::get::Get;
use common::workload::io_bound::{Job, Outcome};

use crate::twisted::defer::{Deferred, Resolver, succeed};
use crate::twisted::failure::Failure;
use crate::twisted::gather::gather_results;
use crate::twisted::inline;
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::Reactor;
use crate::twisted::stream::Stream;
use crate::twisted::transport::Transport;

pub fn run(reactor: &Reactor, jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(fetch(reactor, job));
    }
    let outcomes = reactor.run_until(gather_results(tasks));
    outcomes.expect("fetch catches its errors")
}

pub fn fetch(reactor: &Reactor, job: Job) -> Deferred<Outcome> {
    let get = Get::new(job);
    let result = exchange(reactor, get);
    result.add_callback(|(get, result)| Ok(get.outcome(result)))
}

type Ended = (Get, io::Result<()>);

fn exchange(reactor: &Reactor, get: Get) -> Deferred<Ended> {
    connect(reactor, get, 0)
}

/// A name may have several addresses: they are tried in order until there is a connection.
fn connect(reactor: &Reactor, get: Get, at: usize) -> Deferred<Ended> {
    let Some(&address) = get.addresses().get(at) else {
        return succeed((get, Err(io::ErrorKind::NotFound.into())));
    };
    let (done, result) = Deferred::new();
    let timeout = get.time_left().unwrap_or_default();
    let connection = reactor.connect_tcp(address, Page(Some((get, done))), timeout);
    let result = result.with_canceller(move || connection.disconnect());
    let reactor = reactor.clone();
    result.add_callback(move |(get, result): Ended| {
        let is_last = at + 1 == get.addresses().len();
        if result.is_ok() || get.is_requested() || is_last {
            return succeed((get, result));
        }
        connect(&reactor, get, at + 1)
    })
}

/// A page, and what fires when its connection is closed.
struct Page(Option<(Get, Resolver<Ended>)>);

impl Protocol for Page {
    fn connection_made(&mut self, socket: &Transport) {
        let Some((get, _)) = &self.0 else { return };
        // One timeout for the whole page: a byte that arrives does not restart it.
        socket.set_timeout(Some(get.time_left().unwrap_or_default()));
        socket.write(get.request());
    }

    fn data_received(&mut self, socket: &Transport, buf: &[u8]) {
        let Some((get, _)) = &mut self.0 else { return };
        match get.received(buf) {
            Ok(()) if get.wants_more() => {}
            Ok(()) => socket.lose_connection(),
            Err(error) => socket.fail_connection(error),
        }
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        let Some((mut get, done)) = self.0.take() else { return };
        let result = reason.and_then(|()| get.received(&[]));
        done.callback((get, result));
    }
}

/// The same with `at_once` workers that take their jobs from one queue.
pub fn bounded(reactor: &Reactor, jobs: Vec<Job>, at_once: usize) -> Vec<Outcome> {
    let queue = Rc::new(RefCell::new(jobs.into_iter()));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let queue = queue.clone();
        tasks.push(work(reactor, queue, Vec::new()));
    }
    let outcomes = reactor.run_until(gather_results(tasks));
    let mut outcomes = outcomes.expect("fetch catches its errors").concat();
    outcomes.sort_by_key(|outcome: &Outcome| outcome.task);
    outcomes
}

type Queue = Rc<RefCell<IntoIter<Job>>>;

fn work(reactor: &Reactor, queue: Queue, mut outcomes: Vec<Outcome>) -> Deferred<Vec<Outcome>> {
    // No lock: nothing else runs until this returns.
    let job = queue.borrow_mut().next();
    let Some(job) = job else { return succeed(outcomes) };
    let reactor = reactor.clone();
    // The callback returns a Deferred, and the chain waits for it: the loop is a chain.
    fetch(&reactor, job).add_callback(move |outcome| {
        outcomes.push(outcome);
        work(&reactor, queue, outcomes)
    })
}

/// The same with an `async` block per page, which awaits its Deferreds.
pub fn inline_callbacks(reactor: &Reactor, jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        let page = inline_fetch(reactor.clone(), job);
        tasks.push(inline::inline_callbacks(page));
    }
    let outcomes = reactor.run_until(gather_results(tasks));
    outcomes.expect("fetch catches its errors")
}

async fn inline_fetch(reactor: Reactor, job: Job) -> Result<Outcome, Failure> {
    let mut get = Get::new(job);
    let result = inline_exchange(&reactor, &mut get).await;
    Ok(get.outcome(result))
}

async fn inline_exchange(reactor: &Reactor, get: &mut Get) -> io::Result<()> {
    let socket = inline_connect(reactor, get).await?;
    socket.set_timeout(Some(get.time_left()?));
    socket.write(get.request());
    while get.wants_more() {
        let buf = socket.read().await?;
        get.received(&buf)?;
    }
    Ok(())
}

async fn inline_connect(reactor: &Reactor, get: &Get) -> io::Result<Stream> {
    let mut socket = Err(io::ErrorKind::NotFound.into());
    for address in get.addresses() {
        let connected = Stream::connect(reactor, *address, get.time_left()?).await;
        socket = connected.map_err(io::Error::from);
        if socket.is_ok() {
            break;
        }
    }
    socket
}
