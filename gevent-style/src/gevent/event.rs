//! Signals and values between greenlets: gevent's `Event` and `AsyncResult`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::gevent::line::{Waiters, wait_in};
use crate::gevent::timeout::from_now;
use crate::gevent::waiter::locked;

/// `gevent.event.Event`: a flag that many can wait for. Clones share it.
#[derive(Clone, Default)]
pub struct Event(Arc<Mutex<Flag>>);

#[derive(Default)]
struct Flag {
    set: bool,
    /// How often it was set: so a waiter sees that it was set, even if it is cleared at once.
    times: u64,
    waiting: Waiters,
}

impl Event {
    pub fn new() -> Event {
        Event::default()
    }

    /// Sets the flag and wakes all waiters.
    pub fn set(&self) {
        locked(&self.0, |flag| {
            flag.set = true;
            flag.times += 1;
            flag.waiting.wake_all();
        });
    }

    pub fn clear(&self) {
        locked(&self.0, |flag| flag.set = false);
    }

    pub fn is_set(&self) -> bool {
        locked(&self.0, |flag| flag.set)
    }

    /// Waits until the flag is set. A kill unwinds.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Like `wait`; false if the timeout expires first.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(from_now(Some(timeout)))
    }

    fn wait_until(&self, until: Option<Instant>) -> bool {
        let before = locked(&self.0, |flag| flag.times);
        let set = |flag: &mut Flag| (flag.set || flag.times > before).then_some(());
        wait_in(&self.0, |flag| &mut flag.waiting, until, set).is_some()
    }
}

/// `gevent.event.AsyncResult`: a value that is set once, and that many can wait for. A `Result`
/// as the value is gevent's `set_exception`. Clones share it.
pub struct AsyncResult<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    value: Option<T>,
    waiting: Waiters,
}

impl<T> Clone for AsyncResult<T> {
    fn clone(&self) -> Self {
        AsyncResult(Arc::clone(&self.0))
    }
}

impl<T: Clone> Default for AsyncResult<T> {
    fn default() -> Self {
        AsyncResult(Arc::new(Mutex::new(Slot { value: None, waiting: Waiters::default() })))
    }
}

impl<T: Clone> AsyncResult<T> {
    pub fn new() -> AsyncResult<T> {
        AsyncResult::default()
    }

    /// Sets the value and wakes all waiters; a later value replaces it.
    pub fn set(&self, value: T) {
        let replaced = locked(&self.0, |slot| {
            slot.waiting.wake_all();
            slot.value.replace(value)
        });
        drop(replaced);
    }

    pub fn ready(&self) -> bool {
        locked(&self.0, |slot| slot.value.is_some())
    }

    /// Waits for the value. A kill unwinds.
    pub fn get(&self) -> T {
        self.get_until(None).expect("a wait without end ends with a value")
    }

    /// Like `get`; `None` if the timeout expires first.
    pub fn get_timeout(&self, timeout: Duration) -> Option<T> {
        self.get_until(from_now(Some(timeout)))
    }

    fn get_until(&self, until: Option<Instant>) -> Option<T> {
        wait_in(&self.0, |slot| &mut slot.waiting, until, |slot| slot.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gevent::greenlet::spawn;
    use crate::gevent::timeout::{self, GreenletExit};
    use crate::tests::{DEADLINE, greenlets};

    #[test]
    fn an_event_wakes_all_waiters() {
        let woken = greenlets(|| {
            let event = Event::new();
            let tasks = [(); 3].map(|()| {
                let event = event.clone();
                spawn(move || event.wait())
            });
            timeout::sleep(Duration::ZERO); // now they wait
            event.set();
            tasks.into_iter().all(|task| task.join().is_ok())
        });
        assert!(woken);
    }

    #[test]
    fn a_wait_for_a_set_event_returns_at_once() {
        let (before, after) = greenlets(|| {
            let event = Event::new();
            event.set();
            event.wait();
            let before = event.is_set();
            event.clear();
            (before, event.is_set())
        });
        assert!(before);
        assert!(!after);
    }

    #[test]
    fn an_event_set_and_cleared_at_once_still_wakes() {
        let woken = greenlets(|| {
            let event = Event::new();
            let theirs = event.clone();
            let task = spawn(move || theirs.wait());
            timeout::sleep(Duration::ZERO);
            event.set();
            event.clear();
            task.join().is_ok()
        });
        assert!(woken);
    }

    #[test]
    fn a_wait_with_a_timeout_ends() {
        let set = greenlets(|| Event::new().wait_timeout(Duration::from_millis(1)));
        assert!(!set);
    }

    #[test]
    fn an_os_thread_sets_an_event_for_a_greenlet_and_the_other_way() {
        greenlets(|| {
            let (there, back) = (Event::new(), Event::new());
            let (go, done) = (there.clone(), back.clone());
            let os_thread = std::thread::spawn(move || {
                go.wait();
                done.set();
            });
            there.set();
            back.wait();
            os_thread.join().unwrap();
        });
    }

    #[test]
    fn a_killed_wait_unwinds() {
        let error = greenlets(|| {
            let task = spawn(|| Event::new().wait());
            timeout::sleep(Duration::ZERO);
            task.kill();
            task.join().unwrap_err()
        });
        assert!(error.is::<GreenletExit>());
    }

    #[test]
    fn an_async_result_gives_its_value_to_all() {
        let values = greenlets(|| {
            let result = AsyncResult::new();
            let tasks = [(); 2].map(|()| {
                let result = result.clone();
                spawn(move || result.get())
            });
            timeout::sleep(Duration::ZERO);
            assert!(!result.ready());
            result.set("value".to_string());
            assert!(result.ready());
            tasks.map(|task| task.join().unwrap())
        });
        assert_eq!(values, ["value", "value"]);
    }

    #[test]
    fn an_async_result_that_never_comes() {
        let (none, late) = greenlets(|| {
            let result = AsyncResult::new();
            let none = result.get_timeout(Duration::from_millis(1));
            result.set(1);
            (none, result.get_timeout(DEADLINE))
        });
        assert_eq!((none, late), (None, Some(1)));
    }
}
