//! The asides of twisted-style, run as a user runs them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_twisted-style");

/// Runs the program, which must not print an error, and returns its answer.
fn answer(aside: &str) -> String {
    let output = Command::new(PROGRAM).args([aside, "--quiet"]).output().expect("it is built");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", output.status);
    String::from_utf8(output.stdout).expect("answers are text")
}

#[test]
fn reactor() {
    assert_eq!(
        answer("reactor"),
        "\u{20}1 run, stop                 0 calls before run, 1 in it, then it returns
 2 call_when_running         first, second, third
 3 call_later                1 ms, 2 ms, 5 ms; 1 of 4 was cancelled
 4 listen_tcp, connect_tcp   \"hello\" came back, from the same thread
 5 stop_listening            early; then: Connection refused (os error 111)
 6 register_producer         32 MiB echoed, at most 128 KiB buffered
 7 add_reader                6 bytes, 0 bytes: called until the end
 8 call_from_thread          called by a thread, run on the reactor's thread
 9 defer_to_thread           the thread blocks, the reactor goes on
10 suggest_thread_pool_size  8 jobs, two at once, on 2 threads
11 add_system_event_trigger  waited for a Deferred, ended
12 a panic in a protocol     its connection is reset, the next one says hello
"
    );
}

#[test]
fn deferreds() {
    assert_eq!(
        answer("deferreds"),
        "\
\"8\" down the chain               says 4
\"7\" down the chain               says 0
\"x\" down the chain               says 0
a callback returns a Deferred    the chain pauses, then 5
maybe_deferred                   ✗ invalid digit found in string
cancel, from the chain's end     canceller called, ✗ cancelled
add_timeout                      ✗ timed out
deferred_list                    1, ✗ failed, 3
gather_results, fired 3 2 1      [1, 2, 3]
race                             1 wins, one is cancelled, one is cancelled
DeferredSemaphore(2)             6 runs, 2 at once
DeferredLock, b has cancelled    a has it, c has it
DeferredQueue                    1, 2, then the queue is full
an error without an errback      Unhandled error in Deferred: lost
a chain of 1 000 000 callbacks   1000000
Deferreds in 100 000 Deferreds   100000
a ring of 100 000 DeferredQueues 100000
"
    );
}

#[test]
fn protocols() {
    let script = answer("protocols");
    let heard: Vec<_> = script.lines().filter_map(|line| line.split_once(" hears: ")).collect();
    let heard: Vec<_> = heard.iter().map(|(who, line)| (who.trim(), *line)).collect();
    assert_eq!(
        heard,
        [
            ("ann", "* who are you?"),
            ("ann", "* here: nobody"),
            ("ben", "* somebody else has that name; who are you?"),
            ("ben", "* here: ann"),
            ("ann", "* ben came in"),
            ("ben", "<ann> hello"),
            ("ann", "* ben asked: 1229 primes below 10000"),
            ("mute", "* no name, no chat"),
            ("mute", "(the connection is closed)"),
            ("cid", "* a line may have 512 bytes"),
            ("ann", "* dan came in"),
            ("ann", "* dan is disconnected: does not read"),
            ("ann", "* ben left"),
        ]
    );
}

#[test]
fn clock() {
    assert_eq!(
        answer("clock"),
        "  \
  call_later 5 s                          ·····●·······
  call_later 5 s, reset to 8 s at 4 s     ········●····
  call_later 5 s, cancelled at 4 s        ·············
  LoopingCall every 2 s                   ●·●·●·●·●·●·●
  LoopingCall every 2 s, each takes 3 s   ●···●···●···●
  add_timeout 7 s                         ·······✗·····
  a Cooperator, two tasks step by step    ababababaa
    paused, resumed, stopped              cc|.
  an hour of a heart that beats once per second: 3601 beats
  a chat client that says nothing, 59 s   * who are you?
  a chat client that says nothing, 60 s   * no name, no chat, closed
  a chat client that says its name, 60 s  * here: nobody
"
    );
}

#[test]
fn inline_callbacks() {
    let expected = |way: &str| {
        format!(
            "\
{way:<9} ann 60              customer(ann) orders(7) price(1) price(2) price(3)
{way:<9} bob no customer bob customer(bob)
{way:<9} ann cancelled       customer(ann) cancelled
"
        )
    };
    assert_eq!(answer("inline-callbacks"), expected("callbacks") + &expected("inline"));
}

/// A chat room for people. It ends with the test.
struct Room(Child, String);

impl Room {
    fn open() -> Room {
        Room::started_by(Command::new(PROGRAM))
    }

    fn started_by(mut program: Command) -> Room {
        program.args(["protocols", "--port", "0", "--quiet"]).stdout(Stdio::piped());
        let mut child = program.spawn().expect("it is built");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says where it is");
        let address = line.split([' ', ';']).find(|word| word.starts_with("127.0.0.1:"));
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_string();
        Room(child, address)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Fail only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The counterpart of a person with `nc`.
struct Nc(BufReader<TcpStream>);

impl Nc {
    fn connect(room: &Room) -> Nc {
        let socket = TcpStream::connect(&room.1).expect("the room is open");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a safety timeout, not zero");
        Nc(BufReader::new(socket))
    }

    fn says(&self, line: &str) {
        self.0.get_ref().write_all(format!("{line}\r\n").as_bytes()).expect("the room is open");
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the room sends something");
        line.trim_end().to_string()
    }
}

#[test]
fn people_can_chat() {
    let room = Room::open();
    let mut ann = Nc::connect(&room);
    assert_eq!(ann.hears(), "* who are you?");
    ann.says("ann");
    assert_eq!(ann.hears(), "* here: nobody");
    let mut ben = Nc::connect(&room);
    assert_eq!(ben.hears(), "* who are you?");
    ben.says("no name!");
    assert_eq!(ben.hears(), "* a name has 1 to 16 letters; who are you?");
    ben.says("ben");
    assert_eq!(ben.hears(), "* here: ann");
    assert_eq!(ann.hears(), "* ben came in");
    ben.says("hello");
    assert_eq!(ann.hears(), "<ben> hello");
    ann.says("/who");
    assert_eq!(ann.hears(), "* here: ben");
    ben.says("/paste 9\r\n1\n2\n345\r\nback to lines");
    let pasted = ["<ben> pastes:", "1", "2", "345", "<ben> back to lines"];
    assert_eq!(pasted.map(|_| ann.hears()), pasted);
    ben.says("/me");
    let ben_at = ben.0.get_ref().local_addr().expect("it is connected");
    assert_eq!(ben.hears(), format!("* ben at {ben_at}"));
    ann.says("/quit");
    assert_eq!(ann.hears(), "");
    assert_eq!(ben.hears(), "* ann left");
}

#[test]
fn a_port_in_use_is_a_sentence_and_only_protocols_takes_one() {
    let room = Room::open();
    let (_, port) = room.1.split_once(':').expect("an address has a port");
    let run = |aside| Command::new(PROGRAM).args([aside, "--port", port]).output();
    let taken = run("protocols").expect("it is built");
    assert_eq!(taken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&taken.stderr);
    assert!(said.contains(&format!("cannot listen on port {port}")), "{said}");
    assert_eq!(run("reactor").expect("it is built").status.code(), Some(2));
}

#[test]
fn without_a_free_descriptor_the_listener_backs_off_and_accepts_later() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 96; exec \"$0\" \"$@\"", PROGRAM]);
    let room = Room::started_by(shell);
    let mut visitors: Vec<Nc> = (0..120).map(|_| Nc::connect(&room)).collect();
    // They are accepted in order: these are in, and there are no descriptors for the last ones.
    for visitor in &mut visitors[..8] {
        assert_eq!(visitor.hears(), "* who are you?");
    }
    let mut last = visitors.split_off(119).remove(0);
    let mut inside = visitors.remove(0);
    drop(visitors);
    assert_eq!(last.hears(), "* who are you?");
    last.says("last");
    assert_eq!(last.hears(), "* here: nobody");
    inside.says("first");
    assert_eq!(inside.hears(), "* here: last");
}

#[test]
fn a_member_that_reads_is_not_disconnected_by_a_fast_sender() {
    const LINES: usize = 40_000;

    let room = Room::open();
    let [mut ann, mut ben] = ["ann", "ben"].map(|name| {
        let mut member = Nc::connect(&room);
        assert_eq!(member.hears(), "* who are you?");
        member.says(name);
        member.hears();
        member
    });
    assert_eq!(ann.hears(), "* ben came in");
    let talker = std::thread::spawn(move || {
        ann.0.get_ref().write_all("x\n".repeat(LINES).as_bytes()).expect("the room is open");
        ann // stays
    });
    for _ in 0..LINES {
        assert_eq!(ben.hears(), "<ann> x");
    }
    drop(talker.join().expect("it only writes"));
    assert_eq!(ben.hears(), "* ann left");
}

#[test]
fn a_line_may_have_512_bytes_and_no_control_characters_pass() {
    let room = Room::open();
    let [mut ann, mut ben] = ["ann", "ben"].map(|name| {
        let mut member = Nc::connect(&room);
        member.hears();
        member.says(name);
        member.hears();
        member
    });
    ann.hears();
    for end in ["\n", "\r\n"] {
        let line = "y".repeat(512);
        ann.0.get_ref().write_all(format!("{line}{end}").as_bytes()).expect("it is open");
        assert_eq!(ben.hears(), format!("<ann> {line}"));
    }
    ann.says("one\rtwo\x1b[2Jthree\u{9b}four");
    assert_eq!(ben.hears(), "<ann> onetwo[2Jthreefour");
    ann.says("/paste 8\r\na\x1b\rb\nc\r\nback");
    assert_eq!(["", "", "", ""].map(|_| ben.hears())[..3], ["<ann> pastes:", "ab", "c"]);
    ann.0.get_ref().write_all(format!("{}\n", "y".repeat(513)).as_bytes()).expect("it is open");
    assert_eq!(ann.hears(), "* a line may have 512 bytes");
}

#[test]
fn a_signal_closes_the_room_and_its_members_are_told() {
    let mut room = Room::open();
    let mut ann = Nc::connect(&room);
    ann.hears();
    ann.says("ann");
    ann.hears();
    let pid = room.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("there is a kill").success());
    assert_eq!(ann.hears(), "* the room is closed");
    assert_eq!(ann.hears(), "");
    assert!(room.0.wait().expect("it ends").success());
}
