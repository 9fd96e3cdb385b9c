//! `map` calls `f` on each item, in a greenlet each, and returns the results in order. A greenlet
//! that is killed while it waits in `map` should end the greenlets of `map` too. Hint: a kill
//! unwinds from `join`. What happens to the other tasks of the `Vec` then? In Rust, the `drop` of a
//! value runs in both cases. It may call `kill`, which does not wait.
//! The bug: gevent's issue 1215, "Pool/Group map does not stop when killed".
//! Try it: `cargo test -p gevent-style killed_map -- --ignored`

use std::sync::Arc;

use crate::gevent::greenlet;

pub fn map(items: Vec<u32>, f: impl Fn(u32) -> u32 + Send + Sync + 'static) -> Vec<u32> {
    let f = Arc::new(f);
    let mut tasks = Vec::new();
    for item in items {
        let f = f.clone();
        tasks.push(greenlet::spawn(move || f(item)));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.join().expect("f does not panic"));
    }
    results
}
