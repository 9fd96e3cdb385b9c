//! `map` calls `f` on each item, in a greenlet each, and returns the results in order. A greenlet
//! that is killed while it waits in `map` should end the greenlets of `map` too.
//! What was wrong: a `Greenlet` that is dropped runs on, and all of them were dropped when the kill
//! unwound from `join`.
//! The bug: gevent's issue 1215, "Pool/Group map does not stop when killed".

use std::mem;
use std::sync::Arc;

use crate::gevent::greenlet::{self, Greenlet, joinall};

pub fn map(items: Vec<u32>, f: impl Fn(u32) -> u32 + Send + Sync + 'static) -> Vec<u32> {
    let f = Arc::new(f);
    let mut tasks = KillOnDrop(Vec::new());
    for item in items {
        let f = f.clone();
        tasks.0.push(greenlet::spawn(move || f(item)));
    }
    joinall(&tasks.0, None);
    let mut results = Vec::new();
    for task in mem::take(&mut tasks.0) {
        results.push(task.join().expect("f does not panic"));
    }
    results
}

struct KillOnDrop(Vec<Greenlet<u32>>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // No `join`: while a greenlet unwinds, no other greenlet runs.
        for task in &self.0 {
            task.kill();
        }
    }
}
