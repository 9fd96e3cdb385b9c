//! Every version's server, tried from outside: peers of all kinds, limits, the end.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use tests::peers::{self, Full, Wire, get, well_behaved};
use tests::programs::{
    COROUTINES, GEVENT_STYLE, NET, ON_ASYNC_STD, ON_SMOL, ON_TOKIO, Output, PROCESSES, Running,
    Setup, THREADS, TWISTED_STYLE, VERSIONS, Version, run, start,
};
use tests::reports::{document, measured, verdict};
use tests::traces;

tests::for_every_version! {
    peers_of_all_kinds,
    peers_that_try_its_patience,
    requests_under_way_are_answered_at_the_end,
    the_end_comes_within_the_grace,
    a_second_signal_ends_it_at_once,
    the_port_is_free_at_once,
    a_port_in_use,
    out_of_descriptors,
    every_style_fetches_from_it,
    the_workload,
    many_requests_are_under_way_at_once,
    sizes_beyond_what_it_holds,
}

/// A server of this version, and where it listens.
fn serve(version: &Version) -> (Running, SocketAddr) {
    listening(start(version, &["serve", "--port", "0"]))
}

fn listening(mut server: Running) -> (Running, SocketAddr) {
    let line = server.first_line();
    let address = line.trim_end().rsplit_once("http://").and_then(|(_, a)| a.parse().ok());
    (server, address.unwrap_or_else(|| panic!("no address: {line}")))
}

/// How many connections it says that it holds.
fn room(version: &Version) -> usize {
    match version.name {
        "threads" => 1000,
        "processes" => 200,
        _ => 12_000,
    }
}

fn alive(server: &Running) -> Result<(), String> {
    let dead = traces::ended(server.pid(), Instant::now());
    if dead { Err("the program has ended".into()) } else { Ok(()) }
}

/// Has the server end: in good order, and with nothing left.
fn end(server: Running) {
    server.signal(Signal::SIGTERM);
    let mark = server.mark().to_owned();
    let Output { code, stderr, .. } = server.finish();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(traces::leftovers(&mark, Instant::now() + NET), Vec::<String>::new());
}

/// As many descriptors as there may be: this program holds the other ends.
fn many_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is such a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit is allowed");
}

// ---- peers ---------------------------------------------------------------------------------

fn peers_of_all_kinds(version: &Version) {
    let (server, address) = serve(version);
    let wrong = peers::quick(address, room(version), &|| alive(&server));
    assert_eq!(wrong, Vec::<String>::new());
    end(server);
}

fn peers_that_try_its_patience(version: &Version) {
    let (server, address) = serve(version);
    let wrong = peers::slow(address, &|| alive(&server));
    assert_eq!(wrong, Vec::<String>::new());
    end(server);
}

// ---- limits --------------------------------------------------------------------------------

#[test]
fn one_thread_or_process_too_many_waits() {
    many_descriptors();
    for version in [THREADS, PROCESSES] {
        let (server, address) = serve(&version);
        assert_eq!(peers::one_too_many(address, room(&version)), Ok(Full::Waits));
        end(server);
    }
}

/// Ten thousand clients wait for their pages; beside them one is served. None of them was turned
/// away for that.
#[test]
fn ten_thousand_at_once() {
    many_descriptors();
    for version in [COROUTINES, GEVENT_STYLE, TWISTED_STYLE, ON_TOKIO, ON_ASYNC_STD, ON_SMOL] {
        let (server, address) = serve(&version);
        let mut crowd = waiting(address, 10_000);
        well_behaved(address).unwrap_or_else(|error| panic!("{version:?}: {error}"));
        for wire in &mut crowd {
            assert!(wire.is_quiet(), "{version:?}: one has been answered, or was turned away");
        }
        drop(crowd);
        end(server);
    }
}

/// Where a connection costs next to nothing, one too many is told so.
#[test]
fn one_too_many_is_told() {
    many_descriptors();
    for version in [COROUTINES, TWISTED_STYLE, ON_TOKIO, ON_ASYNC_STD, ON_SMOL] {
        let (server, address) = serve(&version);
        let crowd = waiting(address, room(&version));
        let mut late = Wire::connect(address).expect("the listener listens");
        assert_eq!(late.answer().map(|answer| answer.status), Ok(503), "{version:?}");
        assert_eq!(late.ends(), Ok(()), "{version:?}");
        drop(crowd);
        end(server);
    }
}

/// Clients who wait for a page that is a minute away.
fn waiting(address: SocketAddr, many: usize) -> Vec<Wire> {
    let wait = |_| {
        let mut wire = Wire::connect(address).expect("the listener listens");
        wire.send(get("/page/1?delay=60000")).expect("it is connected");
        wire
    };
    (0..many).map(wait).collect()
}

/// 200 clients of a server that has 64 descriptors: who gets in is served and leaves, and those
/// who wait follow.
fn out_of_descriptors(version: &Version) {
    let args = ["serve", "--port", "0"];
    let limited = Setup::in_shell("ulimit -n 64; exec \"$0\" \"$@\"", version, &args);
    let (server, address) = listening(limited.start());
    let mut crowd: Vec<Wire> =
        (0..200).map(|_| Wire::connect(address).expect("the listener listens")).collect();
    for wire in &mut crowd {
        wire.send(get("/page/1")).expect("it is connected");
    }
    for mut wire in crowd {
        wire.is_page(1).expect("it is served when there is room");
    }
    assert_eq!(well_behaved(address), Ok(()));
    assert_eq!(alive(&server), Ok(()));
    end(server);
}

fn sizes_beyond_what_it_holds(version: &Version) {
    let connections = (room(version) + 1).to_string();
    let Output { stdout, stderr, code } = run(version, &["server", "--connections", &connections]);
    assert_eq!((stdout.as_str(), code), ("", 2), "{stderr}");
    assert!(stderr.contains(&format!("holds {} at once", room(version))), "{stderr}");
}

// ---- the end -------------------------------------------------------------------------------

fn requests_under_way_are_answered_at_the_end(version: &Version) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (server, address) = serve(version);
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

/// Neither a page that is far away nor a client that does not read keeps it.
fn the_end_comes_within_the_grace(version: &Version) {
    let (server, address) = serve(version);
    let mut far = Wire::connect(address).expect("the listener listens");
    far.send(get("/page/1") + &get("/page/1?delay=60000")).expect("it is connected");
    far.is_page(1).expect("it is served, and has been read to the end");
    let mut deaf = Wire::connect(address).expect("the listener listens");
    deaf.send(get("/page/100000000")).expect("it is connected");
    deaf.head().expect("it has begun to be served");
    end(server);
    assert!(far.answer().is_err());
}

fn a_second_signal_ends_it_at_once(version: &Version) {
    let (server, address) = serve(version);
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
    assert_eq!(traces::leftovers(&mark, Instant::now() + NET), Vec::<String>::new());
}

/// Also when clients are connected, and when it was the server who closed first.
fn the_port_is_free_at_once(version: &Version) {
    let (server, address) = serve(version);
    let mut idle = Wire::connect(address).expect("the listener listens");
    idle.page(1).expect("it is served");
    end(server);
    assert!(TcpStream::connect(address).is_err(), "somebody still listens");
    let port = address.port().to_string();
    let (server, again) = listening(start(version, &["serve", "--port", &port]));
    assert_eq!(again, address);
    assert_eq!(well_behaved(address), Ok(()));
    end(server);
}

fn a_port_in_use(version: &Version) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let Output { stdout, stderr, code } = run(version, &["serve", "--port", &port]);
    assert_eq!((stdout.as_str(), code), ("", 1));
    let sentence = format!("error: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(stderr.starts_with(&sentence) && stderr.lines().count() == 1, "{stderr}");
    for port in ["65536", "-1", "http", ""] {
        assert_eq!(run(version, &["serve", "--port", port]).code, 2, "{port:?}");
    }
}

// ---- clients -------------------------------------------------------------------------------

fn every_style_fetches_from_it(version: &Version) {
    let (server, address) = serve(version);
    let urls = [0, 5000, 70_000].map(|n| format!("http://{address}/page/{n}?delay=1"));
    let args: Vec<&str> =
        ["io-bound", "--quiet"].into_iter().chain(urls.iter().map(String::as_str)).collect();
    let answers = VERSIONS.map(|client| run(&client, &args).answer());
    assert!(answers[0].contains("200   70000 bytes"), "{}", answers[0]);
    for (client, answer) in VERSIONS.iter().zip(&answers) {
        assert_eq!(*answer, answers[0], "{client:?}");
    }
    end(server);
}

fn the_workload(version: &Version) {
    let answer = run(version, &["server", "--quiet"]).answer();
    assert_eq!(answer, "64 connections, 6400 pages asked for: 6400 right, 0 wrong\n");
    let few = ["--connections", "3", "--requests", "7", "--delay", "5ms"];
    let report = document(version, "server", &few);
    let section = &report["workloads"]["server"];
    assert_eq!(section["answer"][0], "3 connections, 21 pages asked for: 21 right, 0 wrong");
    for figure in ["wall_s", "baseline_s", "limit_s"] {
        assert!(section[figure].as_f64() > Some(0.0), "{figure}: {section}");
    }
    for figure in ["per_second", "median_ms", "p99_ms"] {
        assert!(section["measured"][figure].as_f64() > Some(0.0), "{figure}: {section}");
    }
    if ["gevent-style", "twisted-style", "asyncio-style"].contains(&version.package) {
        assert_eq!(verdict(&report, "A3"), "holds");
        assert_eq!(section["measured"]["one_thread"], true);
    }
}

/// All clients wait for their pages at the same time: counted, not timed.
fn many_requests_are_under_way_at_once(version: &Version) {
    let flags = ["--connections", "200", "--requests", "1", "--delay", "2s"];
    assert_eq!(measured(version, "server", &flags)["most_open"], 200);
}
