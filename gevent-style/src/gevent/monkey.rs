//! Monkey patching: our definitions of a few libc symbols replace libc's own at link time. So std,
//! every crate and every C library in this program calls them. Before `patch_all()`, and always in
//! a plain OS thread, they do what libc does. In a greenlet, a call that would block parks the
//! greenlet in the hub. Linux with glibc only.
//!
//! The hooks are in `socket`, `pipe`, `process` and `futex`.

use std::panic;
use std::sync::Once;

use crate::gevent::waiter::Life;
use crate::gevent::{cooperate, hub};

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("gevent-style replaces symbols of glibc: it needs Linux with glibc");

/// `gevent.monkey.patch_all()`: from here on a blocking call in a greenlet parks only that
/// greenlet. It affects the whole program, but not its OS threads.
pub fn patch_all() {
    static ONCE: Once = Once::new();
    hub::start();
    ONCE.call_once(silence_std);
    cooperate::patch();
}

/// `Command` assumes that its pipes never fail, and panics if one does. If a kill or the end of a
/// `with_timeout` made it fail, that panic only unwinds, like our own waits: it is not printed, and
/// becomes `GreenletExit` or `Timeout` where it is caught.
fn silence_std() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or("", |location| location.file());
        let of_command = place.contains("library/std/src/") && place.contains("process");
        if !Life::current().is_some_and(|life| life.note_panic(of_command)) {
            before(info);
        }
    }));
}
