//! `wait_until` asks again and again whether something is ready. The other greenlets should run
//! between two questions: one of them makes it ready.
//! Hint: `gevent.sleep(0)` gives the others a turn. What does the documentation of Rust's
//! `thread::sleep` say of a zero duration, and which function does it name?
//! Slide 30: an API like that of threads (G2). The calls to libc are patched (G3); here there is
//! none.
//! Try it: `cargo test -p gevent-style sleep_zero_loop -- --ignored`

use std::thread;
use std::time::Duration;

pub fn wait_until(ready: &dyn Fn() -> bool) {
    while !ready() {
        thread::sleep(Duration::ZERO);
    }
}
