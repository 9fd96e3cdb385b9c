//! `run` fetches pages and returns their texts in the order of the pages. All of them should be
//! open at the same time.
//! Hint: an `async fn` that was called has done nothing yet. What runs the second page while the
//! first one is awaited? `on_tokio::io_bound::run` has two loops.
//! Claim C2, slide 3: one after the other, waits add up. The rule
//! `no-await-in-loop` of `ESLint` finds this bug in JavaScript.
//! Try it: `cargo test -p asyncio-style await_in_a_loop -- --ignored`

/// Each page is what an `async fn` returns when it is called.
pub async fn run(pages: Vec<impl Future<Output = String> + 'static>) -> Vec<String> {
    let mut texts = Vec::new();
    for page in pages {
        texts.push(page.await);
    }
    texts
}
