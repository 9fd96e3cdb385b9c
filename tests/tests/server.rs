//! Every style's server, tested from outside: peers of all kinds, limits, shutdown.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use common::http::page::page;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use tests::foreign::crc32;
use tests::peers::{self, Wire, get, well_behaved};
use tests::programs::{Output, Running, Setup, run, start};
use tests::reports::{document, measured};
use tests::styles::{STYLES, Style, THREADS};
use tests::traces;

tests::for_every_style! {
    peers_of_all_kinds,
    requests_under_way_are_answered_at_the_end,
    one_connection_too_many,
    the_end_comes_within_the_grace,
    a_second_signal_ends_it_at_once,
    the_port_is_free_at_once,
    a_port_in_use,
    out_of_descriptors,
    threads_fetch_from_it_and_it_from_threads,
    the_workload,
    many_requests_are_under_way_at_once,
    sizes_beyond_what_it_holds,
}

/// A server of this style, and where it listens.
fn serve(style: &Style) -> (Running, SocketAddr) {
    listening(start(style, &["serve", "--port", "0"]))
}

fn listening(mut server: Running) -> (Running, SocketAddr) {
    let line = server.first_line();
    let address = line.trim_end().rsplit_once("http://").and_then(|(_, a)| a.parse().ok());
    (server, address.unwrap_or_else(|| panic!("no address: {line}")))
}

fn alive(server: &Running) -> Result<(), String> {
    let dead = traces::ended(server.pid(), Instant::now());
    if dead { Err("the program has ended".into()) } else { Ok(()) }
}

/// Ends the server: cleanly, and with nothing left behind.
fn end(server: Running) {
    server.signal(Signal::SIGTERM);
    let mark = server.mark().to_owned();
    let Output { code, stderr, .. } = server.finish();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(traces::leftovers(&mark), Vec::<String>::new());
}

/// As many descriptors as possible: this program holds the other ends.
fn many_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is such a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit is allowed");
}

// ---- peers ---------------------------------------------------------------------------------

fn peers_of_all_kinds(style: &Style) {
    let (server, address) = serve(style);
    let wrong = peers::quick(address, style.connections, &|| alive(&server));
    assert_eq!(wrong, Vec::<String>::new());
    end(server);
}

/// Peers that use up every time limit, at the servers of all styles at once: so they take no longer
/// than one of them at one server.
#[test]
fn peers_that_use_up_the_time_limits() {
    let limits = ["--idle", "1s", "--request-timeout", "2s", "--write-timeout", "2s"];
    let args = [&["serve", "--port", "0"], &limits[..]].concat();
    let servers = STYLES.map(|style| (style, listening(start(&style, &args))));
    let wrong = |(style, (server, address)): &(Style, (Running, SocketAddr))| {
        let wrong = peers::slow(*address, &|| alive(server)).into_iter();
        wrong.map(|error| format!("{}: {error}", style.name)).collect::<Vec<_>>()
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let tries = servers.each_ref().map(|server| scope.spawn(move || wrong(server)));
        tries.into_iter().flat_map(|one| one.join().expect("peers do not panic")).collect()
    });
    assert_eq!(wrong, [""; 0]);
    for (_, (server, _)) in servers {
        end(server);
    }
}

// ---- limits --------------------------------------------------------------------------------

/// If a connection costs a thread or a process, it waits; otherwise it is answered 503.
fn one_connection_too_many(style: &Style) {
    let args = ["serve", "--port", "0", "--max-connections", "100"];
    let (server, address) = listening(start(style, &args));
    assert_eq!(peers::one_too_many(address, 100), Ok(style.full));
    end(server);
}

/// Ten thousand clients wait for their pages, and one more is served. None of them was refused.
#[test]
fn ten_thousand_at_once() {
    many_descriptors();
    for style in STYLES.into_iter().filter(|style| style.connections > 10_000) {
        let (server, address) = serve(&style);
        let mut wires = waiting(address, 10_000);
        well_behaved(address).unwrap_or_else(|error| panic!("{style:?}: {error}"));
        for wire in &mut wires {
            assert!(wire.is_quiet(), "{style:?}: one has been answered, or was turned away");
        }
        drop(wires);
        end(server);
    }
}

/// Clients that wait for a page with a delay of a minute.
fn waiting(address: SocketAddr, many: usize) -> Vec<Wire> {
    let wait = |_| {
        let mut wire = Wire::connect(address).expect("the listener listens");
        wire.send(get("/page/1?delay=60000")).expect("it is connected");
        wire
    };
    (0..many).map(wait).collect()
}

/// 200 clients of a server that has 64 descriptors: those that are accepted are served and
/// disconnect, and those that wait follow.
fn out_of_descriptors(style: &Style) {
    let args = ["serve", "--port", "0"];
    let limited = Setup::in_shell("ulimit -n 64; exec \"$0\" \"$@\"", style, &args);
    let (server, address) = listening(limited.start());
    let mut wires: Vec<Wire> =
        (0..200).map(|_| Wire::connect(address).expect("the listener listens")).collect();
    for wire in &mut wires {
        wire.send(get("/page/1")).expect("it is connected");
    }
    for mut wire in wires {
        wire.is_page(1).expect("it is served when there is room");
    }
    assert_eq!(well_behaved(address), Ok(()));
    assert_eq!(alive(&server), Ok(()));
    end(server);
}

fn sizes_beyond_what_it_holds(style: &Style) {
    let connections = (style.connections + 1).to_string();
    let Output { stdout, stderr, code } = run(style, &["server", "--connections", &connections]);
    assert_eq!((stdout.as_str(), code), ("", 2), "{stderr}");
    assert!(stderr.contains(&format!("holds {} at once", style.connections)), "{stderr}");
}

// ---- the end -------------------------------------------------------------------------------

fn requests_under_way_are_answered_at_the_end(style: &Style) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (server, address) = serve(style);
        let [mut idle, mut half, mut asked] = [(); 3].map(|()| {
            let mut wire = Wire::connect(address).expect("the listener listens");
            wire.page(1).expect("it is served");
            wire
        });
        let head = "GET /page/2 HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n";
        half.send(format!("{head}expect: 100-continue\r\n\r\nha")).expect("it is connected");
        assert_eq!(half.answer().map(|answer| answer.status), Ok(100), "it has been read");
        asked.send(get("/page/2") + &get("/page/3?delay=500")).expect("it is connected");
        assert_eq!(asked.is_page(2), Ok(()), "and so has what came with it");
        server.signal(signal);
        assert_eq!(idle.ends(), Ok(()), "nothing is asked: closed at once");
        half.send("lf").expect("it is heard out");
        assert_eq!(half.is_page(2), Ok(()));
        assert_eq!(asked.is_page(3), Ok(()));
        assert_eq!(half.ends(), Ok(()));
        assert_eq!(asked.ends(), Ok(()));
        drop((idle, half, asked));
        let Output { code, stderr, .. } = server.finish();
        assert_eq!((code, stderr.as_str()), (0, "6 pages on 3 connections\n"));
    }
}

/// Neither a page with a long delay nor a client that does not read prevents the end.
fn the_end_comes_within_the_grace(style: &Style) {
    let (server, address) = serve(style);
    let mut far = Wire::connect(address).expect("the listener listens");
    far.send(get("/page/1") + &get("/page/1?delay=60000")).expect("it is connected");
    far.is_page(1).expect("it is served, and has been read to the end");
    let mut deaf = Wire::connect(address).expect("the listener listens");
    deaf.send(get("/page/100000000")).expect("it is connected");
    deaf.head().expect("it has begun to be served");
    end(server);
    assert!(far.answer().is_err());
}

fn a_second_signal_ends_it_at_once(style: &Style) {
    let (server, address) = serve(style);
    let mut idle = Wire::connect(address).expect("the listener listens");
    idle.page(1).expect("it is served");
    let mut far = Wire::connect(address).expect("the listener listens");
    far.send(get("/page/1") + &get("/page/1?delay=60000")).expect("it is connected");
    far.is_page(1).expect("it is served, and has been read to the end");
    server.signal(Signal::SIGINT);
    assert_eq!(idle.ends(), Ok(()), "the first signal has been seen");
    server.signal(Signal::SIGTERM);
    let mark = server.mark().to_owned();
    assert_eq!(server.finish().code, 128 + Signal::SIGTERM as i32);
    assert_eq!(traces::leftovers(&mark), Vec::<String>::new());
}

/// Also if clients are connected, and if the server closed first.
fn the_port_is_free_at_once(style: &Style) {
    let (server, address) = serve(style);
    let mut idle = Wire::connect(address).expect("the listener listens");
    idle.page(1).expect("it is served");
    end(server);
    assert!(TcpStream::connect(address).is_err(), "a listener is still open");
    let port = address.port().to_string();
    let (server, again) = listening(start(style, &["serve", "--port", &port]));
    assert_eq!(again, address);
    assert_eq!(well_behaved(address), Ok(()));
    end(server);
}

fn a_port_in_use(style: &Style) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let Output { stdout, stderr, code } = run(style, &["serve", "--port", &port]);
    assert_eq!((stdout.as_str(), code), ("", 1));
    let sentence = format!("error: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(stderr.starts_with(&sentence) && stderr.lines().count() == 1, "{stderr}");
    for port in ["65536", "-1", "http", ""] {
        assert_eq!(run(style, &["serve", "--port", port]).code, 2, "{port:?}");
    }
}

// ---- clients -------------------------------------------------------------------------------

/// The same pages, served and fetched in any style.
fn threads_fetch_from_it_and_it_from_threads(style: &Style) {
    for (server, client) in [(style, &THREADS), (&THREADS, style)] {
        let (server, address) = serve(server);
        let urls = [0, 5000, 70_000].map(|n| format!("http://{address}/page/{n}?delay=1"));
        let flags = ["io-bound", "--quiet"];
        let args: Vec<&str> = flags.into_iter().chain(urls.iter().map(String::as_str)).collect();
        let answer = run(client, &args).answer();
        let bytes = [1024, 5000, 70_000].map(|n| format!("200 {n:>7} bytes  crc32 "));
        let crc32s = [0, 5000, 70_000].map(|n| crc32(&page(n)));
        for ((line, bytes), crc32) in answer.lines().zip(bytes).zip(crc32s) {
            assert!(line.ends_with(&format!("{bytes}{crc32:08x}")), "{answer}");
        }
        assert_eq!(answer.lines().count(), 3, "{answer}");
        end(server);
    }
}

fn the_workload(style: &Style) {
    let answer = run(style, &["server", "--quiet"]).answer();
    assert_eq!(answer, "64 connections, 6400 pages asked for: 6400 right, 0 wrong\n");
    let few = ["--connections", "3", "--requests", "7", "--delay", "5ms"];
    let report = document(style, "server", &few);
    let section = &report["workloads"]["server"];
    assert_eq!(section["answer"][0], "3 connections, 21 pages asked for: 21 right, 0 wrong");
    for figure in ["wall_s", "baseline_s", "limit_s"] {
        assert!(section[figure].as_f64() > Some(0.0), "{figure}: {section}");
    }
    for figure in ["per_second", "median_ms", "p99_ms"] {
        assert!(section["measured"][figure].as_f64() > Some(0.0), "{figure}: {section}");
    }
    assert_eq!(section["measured"]["one_thread"], !style.preempted, "{section}");
}

/// All clients wait for their pages at the same time: counted, not timed.
fn many_requests_are_under_way_at_once(style: &Style) {
    let flags = ["--connections", "200", "--requests", "1", "--delay", "2s"];
    assert_eq!(measured(style, "server", &flags)["most_open"], 200);
}
