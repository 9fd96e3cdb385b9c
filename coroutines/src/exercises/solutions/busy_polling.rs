//! `wait_for` waits for a page. `look` returns it once it is there, and `arrived` is set then.
//! Until then the task should not take a turn: the others should run, or none.
//! What was wrong: it looked again in every turn, also if nothing had happened.
//! The bug: `while not ready: gevent.sleep(0)`, which keeps a core busy for nothing.

use crate::coroutine::sync::Event;

pub fn wait_for(look: &dyn Fn() -> Option<u32>, arrived: &Event) -> u32 {
    loop {
        if let Some(page) = look() {
            return page;
        }
        arrived.wait().expect("the page comes");
    }
}
