//! `wait_for` waits for a page. `look` returns it once it is there, and `arrived` is set then.
//! Until then the task should not take a turn: the others should run, or none.
//! Hint: a task that yields is in the queue again at once. One that waits for an event is not.
//! The bug: `while not ready: gevent.sleep(0)`, which keeps a core busy for nothing.
//! Try it: `cargo test -p coroutines busy_polling -- --ignored`

use crate::coroutine::scheduler::yield_now;
use crate::coroutine::sync::Event;

#[expect(unused_variables, reason = "the code does not wait for `arrived`: goes away with the bug")]
pub fn wait_for(look: &dyn Fn() -> Option<u32>, arrived: &Event) -> u32 {
    loop {
        if let Some(page) = look() {
            return page;
        }
        yield_now();
    }
}
