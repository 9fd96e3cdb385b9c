//! callbacks: the two APIs of asyncio on one loop of our own; the second is built on the first.
//! A callback is called when something has happened; an await ends in one that asks for the next
//! step.
//! Run it: cargo run -p asyncio-style -- callbacks

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use common::http::get::Get;
use common::limits::BUFFER;
use common::partner::site::handle::Site;
use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use common::workload::io_bound::{Job, Outcome};
use serde_json::{Value, json};

use super::check_descriptors;
use crate::asyncio::event_loop::EventLoop;
use crate::asyncio::exceptions::Exception;
use crate::asyncio::futures::Future;
use crate::asyncio::transports::{Protocol, Transport};

/// How many pages each half fetches.
const PAGES: usize = 5;

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    match both(&mut section) {
        Ok(()) => {}
        Err(error) => section.wrong = Some(error.to_string()),
    }
    section
}

fn both(section: &mut Section) -> io::Result<()> {
    check_descriptors()?;
    section.answer.push(format!("the loop alone: {}", alone()?.join(", ")));
    section.answer.push(format!("both in one program: {}", together()?));
    let mut site = Site::start()?;
    for (name, half) in [("callbacks", with_callbacks as Half), ("coroutines", with_coroutines)] {
        site.reset()?;
        let event_loop = EventLoop::new()?;
        let outcomes = half(&event_loop, jobs(site.address()));
        let (calls, steps) = event_loop.counts();
        let most_open = site.stats()?.most_open;
        section.answer.push(format!("with {name}:"));
        section.answer.extend(outcomes.iter().map(|o| format!("  {}", o.line(7))));
        if outcomes.len() != PAGES || outcomes.iter().any(|o| o.result.is_err()) {
            section.wrong = Some(format!("not all pages came with {name}"));
        }
        section.shown.push(format!(
            "  {name:<11} {calls:>3} calls by the loop, {steps:>2} of them steps of a \
             task; {most_open} pages open"
        ));
        section.measure(name, json!({"calls": calls, "steps": steps, "most_open": most_open}));
        section.spans = outcomes.into_iter().flat_map(|o| o.spans).collect();
    }
    section.draw();
    Ok(())
}

/// The loop's own calls, in the order in which they come: first turns, then times. Cancelled calls
/// do not come. There is one handle for other threads.
fn alone() -> io::Result<Vec<&'static str>> {
    let event_loop = EventLoop::new()?;
    let said = Rc::new(RefCell::new(Vec::new()));
    let say = |word| {
        let said = Rc::clone(&said);
        move || said.borrow_mut().push(word)
    };
    let moment = Duration::from_millis(2);
    event_loop.call_later(2 * moment, say("call_later 4 ms"));
    event_loop.call_at(Instant::now() + moment, say("call_at in 2 ms"));
    event_loop.call_later(moment, say("a cancelled timer")).cancel();
    event_loop.call_soon(say("a cancelled call")).cancel();
    event_loop.call_soon(say("call_soon"));
    let handle = event_loop.threadsafe();
    event_loop.call_later(3 * moment, move || {
        thread::spawn(move || handle.call_soon_threadsafe(EventLoop::stop));
    });
    event_loop.run_forever().map_err(|error| io::Error::other(error.to_string()))?;
    say("stopped by a thread")();
    Ok(said.take())
}

/// A server of callbacks and a client of coroutines, served by the same loop.
fn together() -> io::Result<String> {
    let event_loop = EventLoop::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = event_loop.create_server(listener, Upper::default)?;
    let talk = event_loop.create_task(talk(event_loop.clone(), address));
    let waits = event_loop.clone();
    let timeout = Duration::from_secs(10);
    let task = event_loop.create_task(async move { waits.wait_for(talk, timeout).await });
    let line = event_loop.run_until_complete(&task);
    server.close();
    line.flatten().flatten().map_err(|error| io::Error::other(error.to_string()))
}

async fn talk(event_loop: EventLoop, address: SocketAddr) -> Result<String, Exception> {
    let socket = event_loop.open_connection(address).await?;
    socket.write(b"a line ");
    event_loop.sleep(Duration::from_millis(1)).await?;
    socket.write(b"for a protocol\n");
    socket.drain().await?;
    let (mut line, mut buf) = (Vec::new(), [0; BUFFER]);
    while !line.ends_with(b"\n") {
        let n = socket.read(&mut buf).await?;
        line.extend_from_slice(&buf[..n]);
        if n == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_string())
}

/// Sends everything back in capitals, until it has sent a line.
#[derive(Default)]
struct Upper(Option<Transport>);

impl Protocol for Upper {
    fn connection_made(&mut self, transport: &Transport) {
        self.0 = Some(transport.clone());
    }

    fn data_received(&mut self, data: &[u8]) {
        let Some(transport) = &self.0 else { return };
        transport.write(&data.to_ascii_uppercase());
        if data.ends_with(b"\n") {
            transport.close();
        }
    }

    fn connection_lost(&mut self, _error: Option<io::Error>) {
        self.0 = None;
    }
}

type Half = fn(&EventLoop, Vec<Job>) -> Vec<Outcome>;

fn jobs(address: SocketAddr) -> Vec<Job> {
    let job = |task| Job {
        task,
        url: format!("http://{address}/page/{task}?delay=50"),
        addresses: vec![address],
        page: format!("/page/{task}"),
        timeout: Duration::from_secs(10),
    };
    (0..PAGES).map(job).collect()
}

// First part: callbacks. Each page is a protocol, and returns its outcome through a future.

fn with_callbacks(event_loop: &EventLoop, jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        let (timeout, get, done) = (job.timeout, Get::new(job), event_loop.create_future());
        let address = get.addresses()[0];
        let exchange = Rc::new(RefCell::new(Some((get, done.clone()))));
        let page = Page { exchange: Rc::clone(&exchange), transport: None };
        let late = Rc::clone(&exchange);
        let connection = event_loop.create_connection(address, page);
        connection.add_done_callback(move |connection| {
            // Without a connection the protocol is never called.
            if let Some(Err(error)) = connection.result() {
                finish(&exchange, Err(io::Error::other(error.to_string())));
            }
        });
        event_loop.call_later(timeout, move || {
            finish(&late, Err(io::ErrorKind::TimedOut.into()));
        });
        tasks.push(done);
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        let outcome = event_loop.run_until_complete(&task);
        outcomes.extend(outcome.map(Rc::unwrap_or_clone));
    }
    outcomes
}

/// A page under way and the future of its outcome, until that is set.
type Exchange = RefCell<Option<(Get, Future<Rc<Outcome>>)>>;

fn finish(exchange: &Exchange, result: io::Result<()>) {
    if let Some((get, done)) = exchange.take() {
        done.set_result(Rc::new(get.outcome(result)));
    }
}

struct Page {
    exchange: Rc<Exchange>,
    transport: Option<Transport>,
}

impl Protocol for Page {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some((get, _)) = &*self.exchange.borrow() {
            transport.write(get.request());
        }
        self.transport = Some(transport.clone());
    }

    fn data_received(&mut self, data: &[u8]) {
        self.received(data);
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        match error {
            Some(error) => finish(&self.exchange, Err(error)),
            None => self.received(&[]),
        }
    }
}

impl Page {
    fn received(&mut self, data: &[u8]) {
        let Some((result, more)) = self.exchange.borrow_mut().as_mut().map(|(get, _)| {
            let result = get.received(data);
            (result, get.wants_more())
        }) else {
            return;
        };
        if result.is_err() || !more {
            finish(&self.exchange, result);
            if let Some(transport) = &self.transport {
                transport.close();
            }
        }
    }
}

// Second part: coroutines, on the same loop. Each page is a task; each await ends in a callback.

fn with_coroutines(event_loop: &EventLoop, jobs: Vec<Job>) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for job in jobs {
        let timeout = job.timeout;
        let task = event_loop.create_task(fetch(event_loop.clone(), job));
        let late = task.clone();
        event_loop.call_later(timeout, move || _ = late.cancel());
        tasks.push(task);
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        let outcome = event_loop.run_until_complete(&task);
        outcomes.extend(outcome.map(Rc::unwrap_or_clone));
    }
    outcomes
}

async fn fetch(event_loop: EventLoop, job: Job) -> Rc<Outcome> {
    let mut get = Get::new(job);
    let result = exchange(&event_loop, &mut get).await;
    Rc::new(get.outcome(result.map_err(|error| io::Error::other(error.to_string()))))
}

async fn exchange(event_loop: &EventLoop, get: &mut Get) -> Result<(), Exception> {
    let socket = event_loop.open_connection(get.addresses()[0]).await?;
    socket.write(get.request());
    let mut buf = [0; BUFFER];
    while get.wants_more() {
        let n = socket.read(&mut buf).await?;
        get.received(&buf[..n])?;
    }
    Ok(())
}

fn figure(section: &Section, half: &str, name: &str) -> u64 {
    let half = section.measured.get(half).and_then(|half| half.get(name));
    half.and_then(Value::as_u64).unwrap_or(0)
}

/// S1: a callback API.
pub fn callbacks_suffice(section: &Section) -> Verdict {
    let open = figure(section, "callbacks", "most_open");
    let steps = figure(section, "callbacks", "steps");
    let said = format!("{open} pages open at once by callbacks alone, {steps} steps of tasks");
    if open > 1 && steps == 0 { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

/// S2: a coroutine API, over the same loop.
pub fn coroutines_are_callbacks(section: &Section) -> Verdict {
    let open = figure(section, "coroutines", "most_open");
    let (calls, steps) =
        (figure(section, "coroutines", "calls"), figure(section, "coroutines", "steps"));
    let said =
        format!("{open} pages open at once; {steps} of the loop's {calls} callbacks were steps");
    if open > 1 && steps > 0 && steps < calls { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_an_error_of_its_page_with_both() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for half in [with_callbacks as Half, with_coroutines] {
            let event_loop = EventLoop::new().unwrap();
            let outcomes = half(&event_loop, jobs(address));
            assert_eq!(outcomes.len(), PAGES);
            assert!(outcomes.iter().all(|outcome| outcome.result.is_err()));
        }
    }

    #[test]
    fn verdicts_follow_the_figures() {
        // Calls by the loop, steps of tasks, pages open at once: callbacks, and coroutines on them.
        for (calls, steps, most_open, suffice, built_on_them) in [
            (60, 0, 5, "holds", "does not hold"),
            (60, 15, 5, "does not hold", "holds"),
            (60, 60, 5, "does not hold", "does not hold"),
            (60, 0, 1, "does not hold", "does not hold"),
            (60, 15, 1, "does not hold", "does not hold"),
        ] {
            let mut section = Section::default();
            let figures = json!({"calls": calls, "steps": steps, "most_open": most_open});
            section.measure("callbacks", figures.clone());
            section.measure("coroutines", figures.clone());
            let words =
                (callbacks_suffice(&section).word(), coroutines_are_callbacks(&section).word());
            assert_eq!(words, (suffice, built_on_them), "{figures}");
        }
        let nothing = Section::default();
        assert!(matches!(callbacks_suffice(&nothing), Verdict::Fails(_)));
        assert!(matches!(coroutines_are_callbacks(&nothing), Verdict::Fails(_)));
    }
}
