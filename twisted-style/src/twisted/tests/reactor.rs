//! The reactor on real sockets. The tests wait for events, never for a length of time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::{Log, error, unhandled};
use crate::twisted::defer::{Deferred, Resolver, succeed};
use crate::twisted::failure::{Failure, TimeoutError};
use crate::twisted::gather::gather_results;
use crate::twisted::protocol::Protocol;
use crate::twisted::reactor::{Reactor, SystemEvent};
use crate::twisted::tcp::{Connector, ListeningPort};
use crate::twisted::transport::Transport;

/// A safety timeout.
const DEADLINE: Duration = Duration::from_secs(30);

fn reactor() -> Reactor {
    Reactor::new().expect("a few descriptors")
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// When `of` connections have sent something, sends it back and closes: this proves that all of
/// them are open at once.
#[derive(Clone)]
struct Gate(Rc<RefCell<Vec<Asked>>>, usize);

type Asked = (Transport, Vec<u8>);

impl Protocol for Gate {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.0.borrow_mut().push((transport.clone(), data.to_vec()));
        if self.0.borrow().len() == self.1 {
            for (transport, data) in self.0.take() {
                transport.write(&data);
                transport.lose_connection();
            }
        }
    }
}

fn gate(reactor: &Reactor, of: usize) -> SocketAddr {
    let (listener, address) = listener();
    let gate = Gate(Rc::default(), of);
    reactor.listen_tcp(listener, move |_| Some(gate.clone())).expect("a listener can be watched");
    address
}

/// The counterpart of `common`'s `Get`: bytes in, an outcome out.
struct Get {
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Get {
    fn wants_more(&self) -> bool {
        self.answer.len() < self.request.len()
    }

    fn received(&mut self, data: &[u8]) -> io::Result<()> {
        if data.is_empty() && self.wants_more() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.answer.extend_from_slice(data);
        Ok(())
    }
}

#[derive(Clone)]
struct Job(SocketAddr, Vec<u8>);

type Outcome = (Vec<u8>, Option<io::ErrorKind>);

fn run(start: impl FnOnce(&Reactor) -> Vec<Job>) -> Vec<Outcome> {
    let reactor = reactor();
    let mut tasks = Vec::new();
    for job in start(&reactor) {
        tasks.push(fetch(&reactor, job));
    }
    let outcomes = reactor.run_until(gather_results(tasks));
    outcomes.expect("fetch catches its errors")
}

fn bounded(start: impl FnOnce(&Reactor) -> Vec<Job>, at_once: usize) -> Vec<Outcome> {
    let reactor = reactor();
    let jobs: VecDeque<_> = start(&reactor).into_iter().enumerate().collect();
    let outcomes = Rc::new(RefCell::new(vec![(Vec::new(), None); jobs.len()]));
    let jobs = Rc::new(RefCell::new(jobs));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        tasks.push(work(reactor.clone(), jobs.clone(), outcomes.clone()));
    }
    let done = reactor.run_until(gather_results(tasks));
    done.expect("fetch catches its errors");
    outcomes.take()
}

fn work(
    reactor: Reactor,
    jobs: Rc<RefCell<VecDeque<(usize, Job)>>>,
    outcomes: Rc<RefCell<Vec<Outcome>>>,
) -> Deferred<()> {
    let Some((index, job)) = jobs.borrow_mut().pop_front() else {
        return succeed(());
    };
    fetch(&reactor, job).add_callback(move |outcome| {
        outcomes.borrow_mut()[index] = outcome;
        work(reactor, jobs, outcomes)
    })
}

fn fetch(reactor: &Reactor, Job(address, request): Job) -> Deferred<Outcome> {
    let answer = Vec::new();
    let get = Rc::new(RefCell::new(Get { request, answer }));
    exchange(reactor, address, get.clone()).add_both(move |result| {
        let error = result.err().map(|failure| io::Error::from(failure).kind());
        Ok((get.borrow().answer.clone(), error))
    })
}

fn exchange(reactor: &Reactor, address: SocketAddr, get: Rc<RefCell<Get>>) -> Deferred<()> {
    let (done, result) = Deferred::new();
    let page = Page { get, done: Some(done) };
    let connector = reactor.connect_tcp(address, page, DEADLINE);
    result.with_canceller(move || connector.disconnect()).add_timeout(DEADLINE, reactor)
}

struct Page {
    get: Rc<RefCell<Get>>,
    done: Option<Resolver<()>>,
}

impl Page {
    fn finish(&mut self, result: io::Result<()>) {
        if let Some(done) = self.done.take() {
            done.fire(result.map_err(Into::into));
        }
    }
}

impl Protocol for Page {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(&self.get.borrow().request);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let result = self.get.borrow_mut().received(data);
        if result.is_err() || !self.get.borrow().wants_more() {
            transport.lose_connection();
            self.finish(result);
        }
    }

    fn connection_lost(&mut self, reason: io::Result<()>) {
        let result = reason.and_then(|()| self.get.borrow_mut().received(&[]));
        self.finish(result);
    }
}

fn numbered(address: SocketAddr, n: u8) -> Vec<Job> {
    (0..n).map(|i| Job(address, vec![i; 3])).collect()
}

fn answers(n: u8) -> Vec<Outcome> {
    (0..n).map(|i| (vec![i; 3], None)).collect()
}

#[test]
fn all_pages_are_open_at_once_on_one_thread() {
    let outcomes = run(|reactor| numbered(gate(reactor, 100), 100));
    assert_eq!(outcomes, answers(100));
}

#[test]
fn bounded_workers_take_from_one_queue_and_keep_the_order() {
    let outcomes = bounded(|reactor| numbered(gate(reactor, 4), 20), 4);
    assert_eq!(outcomes, answers(20));
}

#[test]
fn a_refused_connection_is_the_error_of_its_page_alone() {
    let outcomes = run(|reactor| {
        let refused = listener().1; // closed again
        let mut jobs = numbered(gate(reactor, 2), 2);
        jobs.push(Job(refused, b"x".to_vec()));
        jobs
    });
    let mut expected = answers(2);
    expected.push((Vec::new(), Some(io::ErrorKind::ConnectionRefused)));
    assert_eq!(outcomes, expected);
}

#[test]
fn a_timeout_cancels_the_page_and_closes_its_connection() {
    struct Stall(Option<Resolver<()>>);
    impl Protocol for Stall {
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
        fn connection_lost(&mut self, reason: io::Result<()>) {
            let lost = self.0.take().expect("once");
            lost.fire(reason.map_err(Into::into));
        }
    }

    let reactor = reactor();
    let (listener, address) = listener();
    let (lost, server) = Deferred::new();
    let mut lost = Some(lost);
    reactor
        .listen_tcp(listener, move |_| lost.take().map(|lost| Stall(Some(lost))))
        .expect("a listener can be watched");
    let (done, page) = Deferred::<()>::new();
    let stall = Stall(Some(done));
    let connector = reactor.connect_tcp(address, stall, DEADLINE);
    let page = page
        .with_canceller(move || connector.disconnect())
        .add_timeout(Duration::from_millis(1), &reactor)
        .add_both(|result| Ok(result.unwrap_err().check::<TimeoutError>().is_some()));
    let both = page.add_callback(move |timed_out| server.add_both(move |_| Ok(timed_out)));
    assert!(reactor.run_until(both).expect("both ended"));
}

#[test]
fn a_connection_cancelled_before_it_is_begun_fails_and_is_not_begun() {
    let reactor = reactor();
    let (listener, address) = listener();
    let accepted = Rc::new(Cell::new(0));
    let count = accepted.clone();
    let gate = Gate(Rc::default(), 1);
    let factory = move |_| {
        count.set(count.get() + 1);
        Some(gate.clone())
    };
    reactor.listen_tcp(listener, factory).expect("a listener can be watched");
    let never = fetch(&reactor, Job(address, b"never".to_vec()));
    never.cancel();
    let page = fetch(&reactor, Job(address, b"page".to_vec()));
    let outcomes = reactor.run_until(gather_results(vec![never, page]));
    let expected = [(Vec::new(), Some(io::ErrorKind::ConnectionAborted)), (b"page".to_vec(), None)];
    assert_eq!(outcomes.expect("fetch catches its errors"), expected);
    assert_eq!(accepted.get(), 1);
}

#[test]
fn stop_waits_for_what_was_added_before_shutdown() {
    let reactor = reactor();
    let log = Rc::new(RefCell::new(Vec::new()));
    let note = |word| {
        let log = log.clone();
        move || log.borrow_mut().push(word)
    };
    let before = note("before");
    let later = reactor.clone();
    reactor.add_system_event_trigger(SystemEvent::BeforeShutdown, move || {
        let (resolver, deferred) = Deferred::new();
        later.call_later(Duration::from_millis(1), move || resolver.callback(()));
        deferred.add_callback(move |()| before())
    });
    reactor.add_system_event_trigger(SystemEvent::AfterShutdown, note("after"));
    let stop = reactor.clone();
    let running = note("running");
    reactor.call_when_running(move || {
        running();
        stop.stop();
    });
    reactor.run();
    assert_eq!(*log.borrow(), ["running", "before", "after"]);
}

#[test]
fn call_from_thread_runs_on_the_thread_of_the_reactor() {
    let reactor = reactor();
    let (from_threads, here) = (reactor.for_threads(), thread::current().id());
    let caller = thread::spawn(move || {
        from_threads.call_from_thread(move |reactor| {
            assert_eq!(thread::current().id(), here);
            reactor.stop();
        });
    });
    reactor.run();
    caller.join().expect("it only calls");
}

#[test]
fn defer_to_thread_brings_the_result_or_the_panic_back() {
    let reactor = reactor();
    reactor.suggest_thread_pool_size(2);
    let here = thread::current().id();
    let mut tasks = Vec::new();
    for n in 0..20 {
        tasks.push(reactor.defer_to_thread(move || {
            assert_ne!(thread::current().id(), here);
            Ok(n)
        }));
    }
    let sum = gather_results(tasks).add_callback(|numbers| Ok(numbers.iter().sum::<i32>()));
    let panics = reactor
        .defer_to_thread(|| -> Result<(), Failure> { panic!("on purpose") })
        .add_both(|result| Ok(result.unwrap_err().to_string()));
    let both = sum.add_callback(|sum| panics.add_callback(move |said| Ok((sum, said))));
    let (sum, said) = reactor.run_until(both).expect("both were caught");
    assert_eq!((sum, said.as_str()), (190, "panicked: on purpose"));
}

#[test]
fn a_panic_in_a_protocol_ends_its_own_connection() {
    struct Touchy;
    impl Protocol for Touchy {
        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            assert_ne!(data, [0; 3], "on purpose");
        }
    }

    let outcomes = run(|reactor| {
        let (listener, address) = listener();
        reactor.listen_tcp(listener, |_| Some(Touchy)).expect("a listener can be watched");
        let mut jobs = numbered(gate(reactor, 3), 3);
        jobs.push(Job(address, vec![0; 3]));
        jobs
    });
    let mut expected = answers(3);
    expected.push((Vec::new(), Some(io::ErrorKind::ConnectionReset)));
    assert_eq!(outcomes, expected);
}

#[test]
fn a_peer_that_does_not_read_pauses_the_producer_and_then_resumes_it() {
    const MUCH: usize = 32 << 20; // more than the kernel keeps

    /// Writes until it is paused, and goes on when all is sent.
    struct Source(usize, bool);
    impl Source {
        fn produce(&mut self, transport: &Transport) {
            while self.0 > 0 && transport.buffered() <= 64 * 1024 {
                self.0 -= 1024;
                transport.write(&[7; 1024]);
            }
            if self.0 == 0 {
                transport.lose_connection();
            }
        }
    }
    impl Protocol for Source {
        fn connection_made(&mut self, transport: &Transport) {
            self.produce(transport);
        }
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
        fn pause_producing(&mut self, _: &Transport) {
            self.1 = true;
        }
        fn resume_producing(&mut self, transport: &Transport) {
            assert!(self.1, "paused before");
            self.produce(transport);
        }
    }

    struct Sink(Rc<Cell<usize>>, Option<Resolver<()>>);
    impl Protocol for Sink {
        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            self.0.set(self.0.get() + data.len());
        }
        fn connection_lost(&mut self, reason: io::Result<()>) {
            let done = self.1.take().expect("once");
            done.fire(reason.map_err(Into::into));
        }
    }

    let reactor = reactor();
    let (listener, address) = listener();
    reactor.listen_tcp(listener, |_| Some(Source(MUCH, false))).expect("a listener can be watched");
    let received = Rc::new(Cell::new(0));
    let (done, all) = Deferred::new();
    reactor.connect_tcp(address, Sink(received.clone(), Some(done)), DEADLINE);
    reactor.run_until(all).expect("closed by the source");
    assert_eq!(received.get(), MUCH);
}

#[test]
fn a_stopped_reactor_begins_nothing_more_and_keeps_nothing_alive() {
    let alive = Rc::new(());
    {
        let reactor = reactor();
        let (kept, handle) = (alive.clone(), reactor.clone());
        let (resolver, never) = Deferred::<()>::new();
        // Dropped when the reactor stops, and so is the resolver: then its Deferred fails.
        reactor.call_later(DEADLINE, move || resolver.callback(()));
        let rest = never.add_both(move |_| {
            let again = handle.clone();
            handle.call_when_running(move || drop((kept, again)));
        });
        reactor.call_when_running({
            let stop = reactor.clone();
            move || stop.stop()
        });
        reactor.run();
        drop(rest);
    }
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn threads_that_call_all_the_time_do_not_block_timers() {
    fn call_again(reactor: &Reactor) {
        reactor.for_threads().call_from_thread(call_again);
    }

    let reactor = reactor();
    reactor.for_threads().call_from_thread(call_again);
    let stop = reactor.clone();
    reactor.call_later(Duration::from_millis(1), move || stop.stop());
    reactor.run();
}

#[test]
fn a_connection_cancelled_in_the_turn_in_which_it_is_made_is_not_made() {
    /// The one that connects first cancels the other.
    struct First(Rc<RefCell<Vec<Connector>>>, Rc<Cell<usize>>, Option<Resolver<()>>);
    impl Protocol for First {
        fn connection_made(&mut self, transport: &Transport) {
            self.1.set(self.1.get() + 1);
            self.0.take().iter().for_each(Connector::disconnect);
            transport.lose_connection();
        }
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
        fn connection_lost(&mut self, _: io::Result<()>) {
            self.2.take().expect("once").callback(());
        }
    }

    let reactor = reactor();
    let address = gate(&reactor, 3);
    let (connectors, made) = (Rc::default(), Rc::default());
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (resolver, end) = Deferred::new();
        let first = First(Rc::clone(&connectors), Rc::clone(&made), Some(resolver));
        let connector = reactor.connect_tcp(address, first, DEADLINE);
        connectors.borrow_mut().push(connector);
        ends.push(end);
    }
    reactor.run_until(gather_results(ends)).expect("both end");
    assert_eq!(made.get(), 1);
}

#[test]
fn nothing_is_accepted_after_stop_listening_inside_the_factory() {
    let reactor = reactor();
    let (listener, address) = listener();
    let waiting = [0, 1].map(|_| TcpStream::connect(address).expect("the backlog has room"));
    let port = Rc::new(RefCell::new(None::<ListeningPort>));
    let built = Rc::new(Cell::new(0));
    let (own_port, count) = (port.clone(), built.clone());
    let gate = Gate(Rc::default(), 1);
    let factory = move |_| {
        count.set(count.get() + 1);
        own_port.take().expect("accepted while it runs").stop_listening();
        Some(gate.clone())
    };
    let listening = reactor.listen_tcp(listener, factory).expect("a listener can be watched");
    *port.borrow_mut() = Some(listening);
    (&waiting[0]).write_all(b"hello").expect("it is connected");
    let mut answer = Vec::new();
    let reading = reactor.defer_to_thread(move || {
        let [mut first, _second] = waiting;
        first.read_to_end(&mut answer)?;
        Ok(answer)
    });
    let answer = reactor.run_until(reading).expect("the first one is served");
    assert_eq!(answer, b"hello");
    assert_eq!(built.get(), 1);
}

/// Runs a reactor until it stops, with what `begin` requests.
fn run_to_stop(begin: impl FnOnce(&Reactor)) {
    let reactor = reactor();
    begin(&reactor);
    reactor.run();
}

fn stop_later(reactor: &Reactor) {
    let stop = reactor.clone();
    reactor.call_later(Duration::from_millis(1), move || stop.stop());
}

#[test]
fn a_panic_in_a_call_is_printed_and_the_reactor_goes_on() {
    run_to_stop(|reactor| {
        reactor.for_threads().call_from_thread(|_| panic!("on purpose"));
        reactor.call_when_running(|| panic!("on purpose"));
        reactor.call_later(Duration::ZERO, || panic!("on purpose"));
        for event in [SystemEvent::BeforeShutdown, SystemEvent::AfterShutdown] {
            reactor.add_system_event_trigger::<()>(event, || panic!("on purpose"));
        }
        stop_later(reactor);
    });
}

#[test]
fn a_reader_that_panics_is_removed_and_the_reactor_goes_on() {
    let calls = Rc::new(Cell::new(0));
    let (readable, mut other) = std::os::unix::net::UnixStream::pair().expect("a few descriptors");
    other.write_all(b"x").expect("it has room");
    run_to_stop(|reactor| {
        let count = calls.clone();
        let reader = reactor.add_reader(readable, move || {
            count.set(count.get() + 1);
            panic!("on purpose");
        });
        drop(reader.expect("a socket can be watched"));
        stop_later(reactor);
    });
    assert_eq!(calls.get(), 1);
    other.read(&mut [0; 1]).expect_err("it is closed, with a byte that was not read");
}

#[test]
fn a_trigger_that_fails_is_reported_and_the_others_are_waited_for() {
    let (log, _observing) = unhandled();
    let waited = Log::default();
    let noted = waited.clone();
    run_to_stop(|reactor| {
        let (later, added) = (reactor.clone(), reactor.clone());
        let before = SystemEvent::BeforeShutdown;
        reactor.add_system_event_trigger(before, || Err::<(), _>(error("broken")));
        reactor.add_system_event_trigger(before, move || {
            let noted = noted.clone();
            let also = noted.clone();
            added.add_system_event_trigger(before, move || also.note("added"));
            let pause = later.defer_later(Duration::from_millis(1));
            pause.add_callback(move |()| noted.note("waited"))
        });
        stop_later(reactor);
    });
    assert_eq!(waited.taken(), ["added", "waited"]);
    assert_eq!(log.taken(), ["broken"]);
}

#[test]
fn jobs_that_wait_for_a_thread_are_done_before_run_returns() {
    let done = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    run_to_stop(|reactor| {
        reactor.suggest_thread_pool_size(1);
        for _ in 0..20 {
            let done = done.clone();
            drop(reactor.defer_to_thread(move || {
                thread::yield_now();
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }));
        }
        reactor.stop();
    });
    assert_eq!(done.load(std::sync::atomic::Ordering::SeqCst), 20);
}

#[test]
#[should_panic(expected = "cannot be run again")]
fn a_reactor_is_not_run_twice() {
    let reactor = reactor();
    reactor.stop();
    reactor.run();
    reactor.run();
}

#[test]
fn defer_to_thread_fails_when_its_work_does() {
    let reactor = reactor();
    let broken = reactor.defer_to_thread(|| Err::<(), _>(error("broken")));
    let failure = reactor.run_until(broken).expect_err("the work fails");
    assert_eq!(failure.to_string(), "broken");
}

/// What a peer that reads to the end sees of a connection on which `act` was called: how many
/// bytes, and the error.
fn seen_by_a_peer(act: fn(&Transport, &Reactor)) -> (usize, Option<io::ErrorKind>) {
    struct Answers(Reactor, fn(&Transport, &Reactor));
    impl Protocol for Answers {
        fn data_received(&mut self, transport: &Transport, _: &[u8]) {
            transport.write(b"half of it");
            let (transport, reactor, act) = (transport.clone(), self.0.clone(), self.1);
            self.0.call_when_running(move || act(&transport, &reactor));
        }
    }

    let reactor = reactor();
    let (listener, address) = listener();
    let own = reactor.clone();
    let port = reactor.listen_tcp(listener, move |_| Some(Answers(own.clone(), act)));
    drop(port.expect("a listener can be watched"));
    let stop = reactor.for_threads();
    let peer = thread::spawn(move || {
        let mut socket = TcpStream::connect(address).expect("the reactor listens");
        socket.write_all(b"?").expect("it is connected");
        let mut answer = Vec::new();
        let error = socket.read_to_end(&mut answer).err().map(|error| error.kind());
        stop.call_from_thread(Reactor::stop);
        (answer.len(), error)
    });
    reactor.run();
    peer.join().expect("it only reads")
}

#[test]
fn a_peer_sees_an_error_when_the_answer_is_cut_and_an_end_when_it_is_not() {
    type Act = fn(&Transport, &Reactor);
    let whole = seen_by_a_peer(|transport, _| transport.lose_connection());
    assert_eq!(whole, (10, None));
    let cuts: [Act; 4] = [
        |transport, _| transport.abort_connection(),
        |transport, _| transport.fail_connection(io::ErrorKind::InvalidData.into()),
        |transport, _| transport.set_timeout(Some(Duration::ZERO)),
        |_, reactor| reactor.stop(),
    ];
    for (n, cut) in cuts.into_iter().enumerate() {
        let (_, error) = seen_by_a_peer(cut);
        assert_eq!(error, Some(io::ErrorKind::ConnectionReset), "cut {n}");
    }
}

#[test]
fn a_client_that_disconnects_is_seen_as_an_error() {
    struct Quiet(Option<Resolver<()>>);
    impl Protocol for Quiet {
        fn connection_made(&mut self, _: &Transport) {
            self.0.take().expect("once").callback(());
        }
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    }

    let reactor = reactor();
    let (listener, address) = listener();
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the reactor connects");
        socket.read(&mut [0; 1]).err().map(|error| error.kind())
    });
    let (made, connected) = Deferred::new();
    let connector = reactor.connect_tcp(address, Quiet(Some(made)), DEADLINE);
    let both = connected.add_callback(move |()| connector.disconnect());
    reactor.run_until(both).expect("the reactor listens");
    assert_eq!(peer.join().expect("it only reads"), Some(io::ErrorKind::ConnectionReset));
}

#[test]
fn threads_may_keep_their_handle_when_the_reactor_is_gone() {
    let (readable, _other) = std::os::unix::net::UnixStream::pair().expect("a few descriptors");
    let reactor = reactor();
    let handle = reactor.for_threads();
    drop(reactor.add_reader(readable, || ()).expect("a socket can be watched"));
    drop(reactor);
    handle.call_from_thread(|_| unreachable!("the reactor is gone"));
}
