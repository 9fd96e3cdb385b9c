//! `run` fetches pages and returns their texts in the order of the pages. All of them should be
//! open at the same time.
//! What was wrong: a page began only when it was awaited, and the one before it was awaited to its
//! end. A task runs without being awaited.
//! Claim C2, slide 3: one after the other, waits add up. The rule
//! `no-await-in-loop` of `ESLint` finds this bug in JavaScript.

use tokio::task;

/// Each page is what an `async fn` returns when it is called.
pub async fn run(pages: Vec<impl Future<Output = String> + 'static>) -> Vec<String> {
    let mut tasks = Vec::new();
    for page in pages {
        tasks.push(task::spawn_local(page));
    }
    let mut texts = Vec::new();
    for task in tasks {
        texts.push(task.await.expect("a page does not panic"));
    }
    texts
}
