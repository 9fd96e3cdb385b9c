//! One check for each exercise, for the broken file and for its solution.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Barrier, oneshot};
use tokio::task;

use common::exercise::{LIMIT, Sentence, should, within};

use super::{await_in_a_loop, guard_across_await, read_exact_raced, solutions};
use crate::on_tokio;

#[test]
#[ignore = "fix asyncio-style/src/exercises/await_in_a_loop.rs"]
fn await_in_a_loop() -> Result<(), Sentence> {
    check_await_in_a_loop(await_in_a_loop::run)
}

#[test]
fn solution_of_await_in_a_loop() -> Result<(), Sentence> {
    check_await_in_a_loop(solutions::await_in_a_loop::run)
}

#[test]
#[ignore = "fix asyncio-style/src/exercises/read_exact_raced.rs"]
fn read_exact_raced() -> Result<(), Sentence> {
    check_read_exact_raced(read_exact_raced::records)
}

#[test]
fn solution_of_read_exact_raced() -> Result<(), Sentence> {
    check_read_exact_raced(solutions::read_exact_raced::records)
}

#[test]
#[ignore = "fix asyncio-style/src/exercises/guard_across_await.rs"]
fn guard_across_await() -> Result<(), Sentence> {
    check_guard_across_await(guard_across_await::pay_in)
}

#[test]
fn solution_of_guard_across_await() -> Result<(), Sentence> {
    check_guard_across_await(solutions::guard_across_await::pay_in)
}

type Page = Pin<Box<dyn Future<Output = String>>>;

fn check_await_in_a_loop(
    run: impl AsyncFn(Vec<Page>) -> Vec<String> + Send + 'static,
) -> Result<(), Sentence> {
    let (texts, most_open) = within(LIMIT, "three pages should end", move || {
        let site = Rc::new(Site::default());
        let mut pages: Vec<Page> = Vec::new();
        for number in 0..3 {
            pages.push(Box::pin(site.clone().page(number)));
        }
        (on_tokio::run(run(pages)), site.most_open.get())
    })?;
    let right = texts == ["page 0", "page 1", "page 2"];
    should(right, format!("the texts should be those of pages 0, 1, 2, not {texts:?}"))?;
    let sentence = format!("three pages should be open at the same time, not {most_open}");
    should(most_open == 3, sentence)
}

#[derive(Default)]
struct Site {
    open: Cell<usize>,
    most_open: Cell<usize>,
}

impl Site {
    /// It is open for some turns of the loop: the higher its number, the fewer.
    async fn page(self: Rc<Self>, number: usize) -> String {
        self.open.update(|open| open + 1);
        self.most_open.update(|most| most.max(self.open.get()));
        for _ in number..10 {
            task::yield_now().await;
        }
        self.open.update(|open| open - 1);
        format!("page {number}")
    }
}

fn check_read_exact_raced(
    records: impl AsyncFn(DuplexStream, UnboundedReceiver<oneshot::Sender<()>>) -> Vec<[u8; 4]>
    + Send
    + 'static,
) -> Result<(), Sentence> {
    let wait = "a ping should be answered at once, also in the middle of a record";
    let (records, answers) = within(LIMIT, wait, move || {
        on_tokio::run(async {
            // It holds one byte: the second one is taken when the first has been read.
            let (mut peer, socket) = duplex(1);
            let (pings, receiver) = unbounded_channel();
            let reader = task::spawn_local(async move { records(socket, receiver).await });
            let mut answers = 0;
            for byte in *b"abcdefgh" {
                let (ping, answer) = oneshot::channel();
                let sent = peer.write_all(&[byte]).await.is_ok() && pings.send(ping).is_ok();
                answers += usize::from(sent && answer.await.is_ok());
            }
            drop(peer);
            (reader.await.expect("reading does not panic"), answers)
        })
    })?;
    should(answers == 8, format!("8 pings should be answered, not {answers}"))?;
    let records: Vec<_> = records.iter().map(|record| String::from_utf8_lossy(record)).collect();
    let sentence = format!(
        "abcdefgh comes byte by byte, with a ping after each: the records should be \
         [\"abcd\", \"efgh\"], not {records:?}"
    );
    should(records == ["abcd", "efgh"], sentence)
}

type Approval = Pin<Box<dyn Future<Output = bool>>>;

fn check_guard_across_await(
    pay_in: impl AsyncFn(&Mutex<i64>, i64, Approval) + Copy + Send + 'static,
) -> Result<(), Sentence> {
    let wait = "two payments should be approved at the same time and arrive: \
                after 2 s one still blocks the thread that the other needs";
    let balance = within(LIMIT, wait, move || {
        on_tokio::run(async {
            let balance = Rc::new(Mutex::new(0));
            let both_asked = Rc::new(Barrier::new(2));
            let mut tasks = Vec::new();
            for (amount, approved) in [(1, true), (10, true), (100, false)] {
                let (balance, both_asked) = (balance.clone(), both_asked.clone());
                let approval: Approval = Box::pin(async move {
                    if approved {
                        both_asked.wait().await;
                    }
                    approved
                });
                tasks.push(task::spawn_local(async move {
                    pay_in(&balance, amount, approval).await;
                }));
            }
            for task in tasks {
                task.await.expect("a payment does not panic");
            }
            *balance.lock().expect("no holder panics")
        })
    })?;
    let sentence =
        format!("1 and 10 are approved, 100 is not: the balance should be 11, not {balance}");
    should(balance == 11, sentence)
}
