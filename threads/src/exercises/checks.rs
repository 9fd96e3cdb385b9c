//! One check for each exercise, for the broken file and for its solution.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::exercise::{LIMIT, Sentence, should, within};

use super::{dripping_peer, lost_update, solutions, two_locks};

#[test]
#[ignore = "fix threads/src/exercises/lost_update.rs"]
fn lost_update() -> Result<(), Sentence> {
    check_lost_update(lost_update::add)
}

#[test]
fn solution_of_lost_update() -> Result<(), Sentence> {
    check_lost_update(solutions::lost_update::add)
}

#[test]
#[ignore = "fix threads/src/exercises/dripping_peer.rs"]
fn dripping_peer() -> Result<(), Sentence> {
    check_dripping_peer(dripping_peer::fetch)
}

#[test]
fn solution_of_dripping_peer() -> Result<(), Sentence> {
    check_dripping_peer(solutions::dripping_peer::fetch)
}

#[test]
#[ignore = "fix threads/src/exercises/two_locks.rs"]
fn two_locks() -> Result<(), Sentence> {
    check_two_locks(two_locks::transfer)
}

#[test]
fn solution_of_two_locks() -> Result<(), Sentence> {
    check_two_locks(solutions::two_locks::transfer)
}

/// Where two threads meet, if both can come: a thread that holds what the other one waits for goes
/// on alone after a while.
#[derive(Default)]
struct Meeting {
    arrived: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    const LIMIT: Duration = Duration::from_millis(200);

    fn wait(&self) {
        let mut arrived = self.arrived.lock().expect("no holder panics");
        *arrived += 1;
        self.changed.notify_all();
        let alone = |arrived: &mut usize| *arrived < 2;
        let _ = self.changed.wait_timeout_while(arrived, Self::LIMIT, alone);
    }

    fn both_came(self) -> bool {
        self.arrived.into_inner().expect("no holder panics") >= 2
    }
}

/// On a busy machine one of two threads may be late for a meeting, but not every time.
const ROUNDS: usize = 3;

fn check_lost_update(add: fn(&AtomicI64, i64, &dyn Fn())) -> Result<(), Sentence> {
    for _ in 0..ROUNDS {
        let (balance, thought) = within(LIMIT, "two additions should both end", move || {
            let (balance, meeting) = (AtomicI64::new(0), Meeting::default());
            thread::scope(|scope| {
                scope.spawn(|| add(&balance, 1, &|| meeting.wait()));
                scope.spawn(|| add(&balance, 10, &|| meeting.wait()));
            });
            (balance.load(Relaxed), meeting.both_came())
        })?;
        let sentence = format!("two threads add 1 and 10 to 0: it should be 11, not {balance}");
        should(balance == 11, sentence)?;
        should(thought, "both additions should still think")?;
    }
    Ok(())
}

type Transfer = fn(&[Mutex<i64>], usize, usize, i64, &dyn Fn());

fn check_two_locks(transfer: Transfer) -> Result<(), Sentence> {
    for _ in 0..ROUNDS {
        let wait = "two transfers in opposite directions should both end, not wait for each other";
        let (balances, thought) = within(LIMIT, wait, move || {
            let (accounts, meeting) = ([0, 0].map(Mutex::new), Meeting::default());
            thread::scope(|scope| {
                scope.spawn(|| transfer(&accounts, 0, 1, 1, &|| meeting.wait()));
                scope.spawn(|| transfer(&accounts, 1, 0, 10, &|| meeting.wait()));
            });
            let balances = accounts.map(|account| account.into_inner().expect("no holder panics"));
            (balances, meeting.both_came())
        })?;
        let sentence = format!("1 there and 10 back: it should be [9, -9], not {balances:?}");
        should(balances == [9, -9], sentence)?;
        should(thought, "both transfers should still think")?;
    }
    Ok(())
}

const TIMEOUT: Duration = Duration::from_millis(500);

fn check_dripping_peer(
    fetch: fn(TcpStream, Duration) -> io::Result<Vec<u8>>,
) -> Result<(), Sentence> {
    let (page, _) = fetch_from(fetch, |mut socket| {
        let _ = socket.write_all(b"page");
        Duration::ZERO
    })?;
    let page = page.map_err(|error| format!("a page that is there should be read: {error}"))?;
    should(page == b"page", "a page should be read to its end")?;
    for _ in 0..ROUNDS {
        let (page, longest_pause) = fetch_from(fetch, drip)?;
        let timed_out = page.is_err_and(|error| {
            matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
        });
        should(timed_out, "a page that takes too long should end with a timeout")?;
        // A pause as long as the timeout ends a single read too: that says nothing.
        if longest_pause < TIMEOUT {
            break;
        }
    }
    Ok(())
}

/// Sends a byte often enough for every read, as long as the peer reads. Returns the longest pause.
fn drip(mut socket: TcpStream) -> Duration {
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    while socket.write_all(b".").is_ok() {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        thread::sleep(TIMEOUT / 50);
    }
    longest
}

/// What `fetch` returns, and what its peer does.
fn fetch_from<T: Send + 'static>(
    fetch: fn(TcpStream, Duration) -> io::Result<Vec<u8>>,
    peer: fn(TcpStream) -> T,
) -> Result<(io::Result<Vec<u8>>, T), Sentence> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let socket = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let socket = socket.expect("the listener has room");
    let (accepted, _) = listener.accept().expect("a connection waits");
    let peer = thread::spawn(move || peer(accepted));
    let late = "a page should take at most its 500 ms, also if every byte comes in time; \
                after 2 s it is still being read";
    let page = within(LIMIT, late, move || fetch(socket, TIMEOUT))?;
    Ok((page, peer.join().expect("the peer does not panic")))
}
