//! waiting: asyncio's ways to wait for several things, on our own loop: gather, wait,
//! `as_completed`, `wait_for`, shield, `Queue` and `TaskGroup`. All are built on futures and
//! done-callbacks.
//! Run it: cargo run -p asyncio-style -- waiting

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use common::registry::Flags;
use common::report::section::Section;

use crate::asyncio::event_loop::EventLoop;
use crate::asyncio::exceptions::Exception;
use crate::asyncio::queues::Queue;
use crate::asyncio::taskgroups::TaskGroup;
use crate::asyncio::tasks::{
    ReturnWhen, Task, as_completed, gather, gather_return_exceptions, shield, wait,
};

pub fn run(_flags: &Flags) -> Section {
    let mut section = Section::default();
    match acts() {
        Ok(lines) => section.answer = lines,
        Err(error) => section.wrong = Some(error.to_string()),
    }
    section
        .shown
        .push("  four tasks end after 30, 10, 20 and 40 ms, in this order of starting".into());
    section
}

fn acts() -> io::Result<Vec<String>> {
    let event_loop = EventLoop::new()?;
    let acts = event_loop.clone();
    let task = event_loop.create_task(async move {
        let mut lines = Vec::new();
        let all = gather(tasks(&acts)).await?;
        lines.push(format!("gather        {}", all.join(" ")));
        let four = tasks(&acts);
        four[1].cancel();
        let all = gather_return_exceptions(four).await?;
        let all = all.into_iter().map(|one| one.map_or_else(|e| e.to_string(), String::from));
        lines.push(format!("  exceptions  {}", all.collect::<Vec<_>>().join(" ")));
        lines.push(format!("wait          {}", waits(&acts).await?.join(", ")));
        let tasks_ = tasks(&acts);
        let mut done = Vec::new();
        let queue = as_completed(&acts, &tasks_);
        for _ in &tasks_ {
            done.push(queue.get().await?.await?);
        }
        lines.push(format!("as_completed  {}", done.join(" ")));
        let late = acts.wait_for(after(&acts, 60_000, "never"), ms(5)).await;
        lines.push(format!("wait_for      {}", late.map_or_else(|e| e.to_string(), String::from)));
        let inner = after(&acts, 10, "the inner one went on");
        let outer = shield(&acts, &inner);
        outer.cancel();
        let said = outer.await.map_or_else(|e| e.to_string(), String::from);
        lines.push(format!("shield        {said}, {}", inner.await?));
        lines.push(format!("Queue(1)      {}", through_a_queue(&acts).await?));
        lines.push(format!("TaskGroup     {}", in_a_group(&acts).await));
        Ok::<_, Exception>(lines)
    });
    let lines = event_loop.run_until_complete(&task).flatten();
    lines.map_err(|error| io::Error::other(error.to_string()))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn after(event_loop: &EventLoop, delay: u64, word: &'static str) -> Task<&'static str> {
    let sleep = event_loop.sleep(ms(delay));
    event_loop.create_task(async move {
        // It can be cancelled only with this task.
        let _ = sleep.await;
        word
    })
}

fn tasks(event_loop: &EventLoop) -> Vec<Task<&'static str>> {
    [(30, "30"), (10, "10"), (20, "20"), (40, "40")]
        .map(|(n, word)| after(event_loop, n, word))
        .into()
}

/// A producer that is faster than its consumer has to wait for it.
/// One of three ends, one fails, one does not end: how many are done when `wait` returns.
async fn waits(event_loop: &EventLoop) -> Result<Vec<String>, Exception> {
    let mut said = Vec::new();
    for (name, return_when) in [
        ("first", ReturnWhen::FirstCompleted),
        ("first error", ReturnWhen::FirstException),
        ("all completed", ReturnWhen::AllCompleted),
    ] {
        let [ends, fails, never] = [(); 3].map(|()| event_loop.create_future());
        ends.set_result("ends");
        let late = fails.clone();
        if return_when != ReturnWhen::FirstCompleted {
            event_loop.call_later(ms(1), move || late.set_exception(io::Error::other("fails")));
        }
        if return_when == ReturnWhen::AllCompleted {
            never.cancel();
        }
        let (done, pending) = wait(&[ends, fails, never], return_when).await?;
        said.push(format!("{name} {} of {}", done.len(), done.len() + pending.len()));
    }
    Ok(said)
}

async fn through_a_queue(event_loop: &EventLoop) -> Result<String, Exception> {
    let queue = Queue::new(event_loop, 1);
    let (filled, log) = (queue.clone(), Rc::new(RefCell::new(Vec::new())));
    let written = Rc::clone(&log);
    let producer = event_loop.create_task(async move {
        for n in 1..=3 {
            filled.put(n).await?;
            written.borrow_mut().push(format!("put {n}"));
        }
        Ok::<_, Exception>(())
    });
    for _ in 0..3 {
        let n = queue.get().await?;
        log.borrow_mut().push(format!("got {n}"));
        event_loop.sleep(ms(5)).await?;
        queue.task_done()?;
    }
    producer.await??;
    queue.join().await?;
    log.borrow_mut().push("all done".into());
    Ok(log.take().join(", "))
}

/// One of three fails: the other two do not finish.
async fn in_a_group(event_loop: &EventLoop) -> String {
    let mut group = TaskGroup::new(event_loop);
    let ended = Rc::new(RefCell::new(0));
    for _ in 0..2 {
        let (sleep, ended) = (event_loop.sleep(ms(60_000)), Rc::clone(&ended));
        group.create_task(async move {
            sleep.await?;
            *ended.borrow_mut() += 1;
            Ok(())
        });
    }
    let sleep = event_loop.sleep(ms(5));
    group.create_task(async move {
        sleep.await?;
        Err(io::Error::other("one failed").into())
    });
    let result = group.join().await;
    let said = result.map_or_else(|error| error.to_string(), |_| "all well".into());
    format!("{said}, {} of the other 2 got to the end", ended.borrow())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_wait_does_what_asyncio_says() {
        let lines = acts().expect("descriptors are left");
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(
            lines,
            [
                "gather        30 10 20 40".to_string(),
                "  exceptions  30 cancelled 20 40".to_string(),
                "wait          first 1 of 3, first error 2 of 3, all completed 3 of 3".to_string(),
                "as_completed  10 20 30 40".to_string(),
                format!("wait_for      {timed_out}"),
                "shield        cancelled, the inner one went on".to_string(),
                "Queue(1)      put 1, got 1, put 2, got 2, put 3, got 3, all done".to_string(),
                "TaskGroup     one failed, 0 of the other 2 got to the end".to_string(),
            ]
        );
    }
}
