//! Monkey patching: our definitions of a few libc symbols win at link time over libc's own, so
//! std, every crate and every C library in this program calls them. They do what libc does until
//! `patch_all()` was called, and always in a plain OS thread; in a greenlet, what would block
//! parks it in the hub. Linux with glibc only.
//!
//! The hooks themselves lie in `socket`, `pipe`, `process` and `futex`.

use std::panic;
use std::sync::Once;

use crate::gevent::waiter::Life;
use crate::gevent::{cooperate, hub};

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("gevent-style replaces symbols of glibc: it needs Linux with glibc");

/// `gevent.monkey.patch_all()`: from here on a blocking call in a greenlet parks that greenlet
/// only. In effect for the whole program; an OS thread is not affected.
pub fn patch_all() {
    static ONCE: Once = Once::new();
    hub::start();
    ONCE.call_once(silence_std);
    cooperate::patch();
}

/// `Command` takes it for impossible that its pipes fail, and panics. Where a kill or the end of a
/// `with_timeout` has made one fail, that panic only unwinds, as our own waits do: it is not
/// printed, and becomes `GreenletExit` or `Timeout` where it is caught.
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
