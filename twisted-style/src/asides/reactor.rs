//! The aside `reactor`: what each of its calls does, in twelve steps, each on a reactor of its own.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use common::registry::Flags;
use common::report::section::Section;
use common::report::verdict::Verdict;
use serde_json::Value;

use super::reactor_costs;
use crate::twisted::clock::DelayedCall;
use crate::twisted::defer::{Deferred, Resolver};
use crate::twisted::failure::Failure;
use crate::twisted::gather::gather_results;
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::{Reactor, SystemEvent};
use crate::twisted::tcp::READ;
use crate::twisted::transport::Transport;

const SOON: Duration = Duration::from_millis(1);

/// A safety timeout.
const DEADLINE: Duration = Duration::from_secs(10);

pub fn aside(_: &Flags) -> Section {
    let mut section = Section::default();
    if let Err(error) = climb(&mut section) {
        section.wrong = Some(error.to_string());
    }
    section
}

fn climb(section: &mut Section) -> io::Result<()> {
    let [before, inside, to_come] = run_and_stop()?;
    section.measure("calls_before_run", before.into());
    section.measure("calls_in_run", inside.into());
    section.measure("calls_to_come", to_come.into());
    let begun = format!("{before} calls before run, {inside} in it, then it returns");
    let steps = [
        ("run, stop", said(to_come > 0, &begun)),
        ("call_when_running", in_the_order_asked_for()?),
        ("call_later", in_the_order_of_time()?),
        ("listen_tcp, connect_tcp", both_ends_on_one_thread()?),
        ("stop_listening", no_new_connections()?),
        ("register_producer", as_fast_as_the_slower_one(section)?),
        ("add_reader", until_its_end()?),
        ("call_from_thread", on_the_thread_of_the_reactor()?),
        ("defer_to_thread", the_reactor_goes_on()?),
        ("suggest_thread_pool_size", so_many_threads()?),
        ("add_system_event_trigger", before_and_after_shutdown()?),
        ("a panic in a protocol", one_connection_less()?),
    ];
    for (n, (call, does)) in steps.into_iter().enumerate() {
        section.answer.push(format!("{:>2} {call:<25} {does}", n + 1));
    }
    reactor_costs::measure(section)
}

fn said(right: bool, words: &str) -> String {
    if right { words.to_string() } else { format!("NOT: {words}") }
}

/// W1: the loop is explicit. Nothing happens before `run`, and nothing after `stop`.
pub fn explicit_loop(section: &Section) -> Verdict {
    let figure = |name| section.measured.get(name).and_then(Value::as_u64);
    match ["calls_before_run", "calls_in_run", "calls_to_come"].map(figure) {
        [Some(0), Some(inside @ 1..), Some(to_come @ 1..)] => Verdict::Holds(format!(
            "no call before reactor.run(), {inside} in it; reactor.stop() made it return with \
             {to_come} still to come"
        )),
        [before, inside, to_come] => Verdict::Fails(format!(
            "calls before run: {before:?}, in it: {inside:?}, still to come: {to_come:?}"
        )),
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, words: impl ToString) {
        self.0.borrow_mut().push(words.to_string());
    }

    fn words(&self) -> String {
        self.0.borrow().join(", ")
    }
}

/// 1: how many calls were made before `run`, and in it, and were still to come when it returned.
fn run_and_stop() -> io::Result<[usize; 3]> {
    let reactor = Reactor::new()?;
    let (calls, to_come) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(1)));
    let later = to_come.clone();
    reactor.call_later(DEADLINE, move || later.set(0));
    let (seen, stop) = (calls.clone(), reactor.clone());
    // Asked for in one turn, called in the next one: the loop goes on until it is stopped.
    reactor.call_when_running(move || {
        stop.clone().call_when_running(move || {
            seen.set(seen.get() + 1);
            stop.stop();
        });
    });
    let before = calls.get();
    reactor.run();
    Ok([before, calls.get() - before, to_come.get()])
}

/// 2
fn in_the_order_asked_for() -> io::Result<String> {
    let (reactor, log) = (Reactor::new()?, Log::default());
    for name in ["first", "second", "third"] {
        let log = log.clone();
        reactor.call_when_running(move || log.note(name));
    }
    let stop = reactor.clone();
    reactor.call_when_running(move || stop.stop());
    reactor.run();
    Ok(log.words())
}

/// 3
fn in_the_order_of_time() -> io::Result<String> {
    let (reactor, log) = (Reactor::new()?, Log::default());
    let mut calls = Vec::new();
    for ms in [5, 3, 2, 1] {
        let log = log.clone();
        calls.push(reactor.call_later(SOON * ms, move || log.note(format!("{ms} ms"))));
    }
    calls[1].cancel();
    calls[0].reset(SOON * 4);
    let active: Vec<bool> = calls.iter().map(DelayedCall::active).collect();
    let stop = reactor.clone();
    reactor.call_later(SOON * 6, move || stop.stop());
    reactor.run();
    let cancelled = active.iter().filter(|active| !**active).count();
    Ok(format!("{}; {cancelled} of {} was cancelled", log.words(), active.len()))
}

fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Sends back what it receives.
#[derive(Clone, Default)]
struct Echo(Rc<Seen>);

#[derive(Default)]
struct Seen {
    /// The most bytes that the echo has buffered.
    kept: Cell<usize>,
    /// The client, which is not reading yet.
    idle: RefCell<Option<Transport>>,
}

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        // Reads no more from a client that does not read the answers.
        transport.register_producer(transport.clone());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        assert!(data != b"panic", "on purpose");
        transport.write(data);
        self.0.kept.set(self.0.kept.get().max(transport.buffered()));
    }

    fn pause_producing(&mut self, _: &Transport) {
        if let Some(idle) = self.0.idle.take() {
            idle.resume_producing();
        }
    }
}

/// Sends its words and the end of its stream, then reads the answer.
struct Ask(&'static str, Option<Resolver<String>>);

impl Protocol for Ask {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.0.as_bytes());
        transport.lose_write_connection();
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.lose_connection();
        if let Some(answer) = self.1.take() {
            answer.callback(String::from_utf8_lossy(data).into_owned());
        }
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        if let Some(answer) = self.1.take() {
            let words = match reason {
                Ok(()) => "closed".to_string(),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => "reset".to_string(),
                Err(error) => error.to_string(),
            };
            answer.callback(words);
        }
    }
}

fn ask(reactor: &Reactor, address: SocketAddr, words: &'static str) -> Deferred<String> {
    let (resolver, answer) = Deferred::new();
    reactor.connect_tcp(address, Ask(words, Some(resolver)), DEADLINE);
    answer
}

fn failed(failure: Failure) -> io::Error {
    failure.into()
}

/// 4
fn both_ends_on_one_thread() -> io::Result<String> {
    let (reactor, (listener, address)) = (Reactor::new()?, listen()?);
    reactor.listen_tcp(listener, |_| Some(Echo::default()))?;
    let answer = reactor.run_until(ask(&reactor, address, "hello")).map_err(failed)?;
    Ok(format!("\"{answer}\" came back, from the same thread"))
}

/// 5: an open connection stays open, a new one is refused.
fn no_new_connections() -> io::Result<String> {
    let (reactor, (listener, address)) = (Reactor::new()?, listen()?);
    let port = reactor.listen_tcp(listener, |_| Some(Echo::default()))?;
    let late = reactor.clone();
    let answers = ask(&reactor, address, "early").add_callback(move |early| {
        port.stop_listening();
        ask(&late, address, "late").add_callback(move |late| Ok(format!("{early}; then: {late}")))
    });
    reactor.run_until(answers).map_err(failed)
}

/// Sends a lot, a little at a time, and reads nothing until the echo has had to pause.
struct Flood {
    to_send: usize,
    received: usize,
    seen: Rc<Seen>,
    done: Option<Resolver<usize>>,
}

/// More bytes than all buffers of the kernel hold, in both directions.
const FLOOD: usize = 32 << 20;

impl Protocol for Flood {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_producing();
        *self.seen.idle.borrow_mut() = Some(transport.clone());
        self.resume_producing(transport);
    }

    fn resume_producing(&mut self, transport: &Transport) {
        // One chunk more than it takes to get `resume_producing` called again.
        while self.to_send > 0 && transport.buffered() <= 64 * 1024 {
            transport.write(&[b'x'; 8192]);
            self.to_send -= 8192;
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received += data.len();
        if self.received == FLOOD {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, _: io::Result<()>) {
        if let Some(done) = self.done.take() {
            done.callback(self.received);
        }
    }
}

/// 6
fn as_fast_as_the_slower_one(section: &mut Section) -> io::Result<String> {
    let (reactor, (listener, address)) = (Reactor::new()?, listen()?);
    let echo = Echo::default();
    let seen = echo.0.clone();
    reactor.listen_tcp(listener, move |_| Some(echo.clone()))?;
    let (done, all) = Deferred::new();
    let flood = Flood { to_send: FLOOD, received: 0, seen: seen.clone(), done: Some(done) };
    reactor.connect_tcp(address, flood, DEADLINE);
    let all = reactor.run_until(all).map_err(failed)?;
    section.measure("kept_by_the_echo", seen.kept.get().into());
    let little = seen.kept.get() <= 64 * 1024 + READ;
    Ok(said(little, &format!("{} MiB echoed, at most 128 KiB buffered", all >> 20)))
}

/// 7
fn until_its_end() -> io::Result<String> {
    let (reactor, log) = (Reactor::new()?, Log::default());
    let (mut here, there) = UnixStream::pair()?;
    here.write_all(b"a word")?;
    drop(here);
    let mut source = there.try_clone()?;
    let (seen, stop) = (log.clone(), reactor.clone());
    let reader = reactor.add_reader(there, move || {
        let mut buf = [0; 16];
        let n = source.read(&mut buf).unwrap_or(0);
        seen.note(format!("{n} bytes"));
        if n == 0 {
            stop.stop();
        }
    })?;
    let remove = move || reader.remove();
    reactor.add_system_event_trigger(SystemEvent::BeforeShutdown, remove);
    reactor.run();
    Ok(format!("{}: called until the end", log.words()))
}

/// 8
fn on_the_thread_of_the_reactor() -> io::Result<String> {
    let reactor = Reactor::new()?;
    let from_threads = reactor.for_threads();
    let (sender, called_on) = mpsc::channel();
    let caller = thread::spawn(move || {
        from_threads.call_from_thread(move |reactor| {
            // Fails only if the receiver is gone.
            let _ = sender.send(thread::current().id());
            reactor.stop();
        });
    });
    reactor.run();
    caller.join().map_err(|_| io::Error::other("a thread panicked that only calls"))?;
    let here = called_on.try_iter().all(|id| id == thread::current().id());
    Ok(said(here, "called by a thread, run on the reactor's thread"))
}

/// 9: the thread waits for a message that only the reactor can send.
fn the_reactor_goes_on() -> io::Result<String> {
    let reactor = Reactor::new()?;
    let (word, blocked) = mpsc::channel();
    reactor.call_later(SOON, move || {
        // Fails only if the job has timed out.
        let _ = word.send(());
    });
    let job = reactor.defer_to_thread(move || Ok(blocked.recv_timeout(DEADLINE).is_ok()));
    let went_on = reactor.run_until(job).map_err(failed)?;
    Ok(said(went_on, "the thread blocks, the reactor goes on"))
}

/// 10: each job waits for another one, so two run at once; never more than two.
fn so_many_threads() -> io::Result<String> {
    let reactor = Reactor::new()?;
    reactor.suggest_thread_pool_size(2);
    let pair = Arc::new(Barrier::new(2));
    let mut jobs = Vec::new();
    for _ in 0..8 {
        let pair = pair.clone();
        jobs.push(reactor.defer_to_thread(move || {
            pair.wait();
            Ok(format!("{:?}", thread::current().id()))
        }));
    }
    let mut threads = reactor.run_until(gather_results(jobs)).map_err(failed)?;
    let jobs = threads.len();
    threads.sort();
    threads.dedup();
    Ok(format!("{jobs} jobs, two at once, on {} threads", threads.len()))
}

/// 11
fn before_and_after_shutdown() -> io::Result<String> {
    let (reactor, log) = (Reactor::new()?, Log::default());
    let (before, after) = (log.clone(), log.clone());
    let later = reactor.clone();
    reactor.add_system_event_trigger(SystemEvent::BeforeShutdown, move || {
        later.defer_later(SOON).add_callback(move |()| before.note("waited for a Deferred"))
    });
    reactor.add_system_event_trigger(SystemEvent::AfterShutdown, move || after.note("ended"));
    let stop = reactor.clone();
    reactor.call_when_running(move || stop.stop());
    reactor.run();
    Ok(log.words())
}

/// 12
fn one_connection_less() -> io::Result<String> {
    let (reactor, (listener, address)) = (Reactor::new()?, listen()?);
    reactor.listen_tcp(listener, |_| Some(Echo::default()))?;
    let asked = ["panic", "hello"].map(|words| ask(&reactor, address, words));
    let quiet = Quiet::begin();
    let answers = reactor.run_until(gather_results(asked.into())).map_err(failed);
    drop(quiet);
    Ok(format!("its connection is {}", answers?.join(", the next one says ")))
}

/// Prints no message on stderr for a panic on purpose.
struct Quiet(Option<Hook>);

type Hook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send>;

impl Quiet {
    fn begin() -> Quiet {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        Quiet(Some(hook))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(hook) = self.0.take() {
            std::panic::set_hook(hook);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_figures() {
        for (before, inside, to_come, word) in [
            (0, 1, 1, "holds"),
            (1, 1, 1, "does not hold"),
            (0, 0, 1, "does not hold"),
            (0, 1, 0, "does not hold"),
        ] {
            let mut section = Section::default();
            section.measure("calls_before_run", before.into());
            section.measure("calls_in_run", inside.into());
            section.measure("calls_to_come", to_come.into());
            let verdict = explicit_loop(&section);
            assert_eq!(verdict.word(), word, "{verdict:?}");
        }
        assert!(matches!(explicit_loop(&Section::default()), Verdict::Fails(_)));
    }
}
