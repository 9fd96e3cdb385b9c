//! What asyncio does, done here.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::event_loop::EventLoop;
use super::exceptions::Exception;
use super::futures::Future;
use super::transports::{Protocol, Transport};

fn event_loop() -> EventLoop {
    EventLoop::new().expect("a descriptor is left")
}

fn log() -> (Rc<RefCell<Vec<&'static str>>>, impl Fn(&'static str) + Clone) {
    let log = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&log);
    (log, move |word| kept.borrow_mut().push(word))
}

#[test]
fn callbacks_are_called_in_order_and_new_ones_in_the_next_turn() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (first, inner, last) = (say.clone(), say.clone(), say);
    let again = event_loop.clone();
    event_loop.call_soon(move || {
        first("first");
        again.call_soon(move || inner("next turn"));
        again.stop();
    });
    event_loop.call_soon(move || last("second"));
    event_loop.run_forever();
    assert_eq!(*said.borrow(), ["first", "second"]);
    event_loop.stop();
    event_loop.run_forever();
    assert_eq!(said.borrow().len(), 2, "a stop before the loop runs ends it at once");
}

#[test]
fn a_cancelled_call_is_not_called() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (one, two, three) = (say.clone(), say.clone(), say);
    event_loop.call_soon(move || one("soon")).cancel();
    event_loop.call_later(Duration::ZERO, move || two("later")).cancel();
    let end = event_loop.clone();
    event_loop.call_later(Duration::from_millis(1), move || {
        three("end");
        end.stop();
    });
    event_loop.run_forever();
    assert_eq!(*said.borrow(), ["end"]);
}

#[test]
fn timers_fire_by_time_and_then_in_order() {
    let event_loop = event_loop();
    let (said, say) = log();
    let now = Instant::now();
    for (word, when) in [("c", 2), ("a", 1), ("b", 1)] {
        let (say, end) = (say.clone(), event_loop.clone());
        event_loop.call_at(now + Duration::from_millis(when), move || {
            say(word);
            if word == "c" {
                end.stop();
            }
        });
    }
    event_loop.run_forever();
    assert_eq!(*said.borrow(), ["a", "b", "c"]);
}

#[test]
fn done_callbacks_come_from_the_loop_never_from_set_result() {
    let event_loop = event_loop();
    let (said, say) = log();
    let (in_callback, after) = (say.clone(), say);
    let future = event_loop.create_future();
    let end = event_loop.clone();
    future.add_done_callback(move |future: &Future<i32>| {
        in_callback(if matches!(future.result(), Some(Ok(7))) { "seven" } else { "what?" });
        end.stop();
    });
    future.set_result(7);
    future.set_result(8);
    after("set");
    event_loop.run_forever();
    assert_eq!(*said.borrow(), ["set", "seven"]);
}

#[test]
fn a_task_is_stepped_by_call_soon() {
    let event_loop = event_loop();
    let waits = event_loop.clone();
    let task = event_loop.create_task(async move {
        waits.sleep(Duration::ZERO).await?;
        waits.sleep(Duration::ZERO).await?;
        Ok::<_, Exception>(42)
    });
    let result = event_loop.run_until_complete(&task);
    assert!(matches!(result, Ok(Ok(42))), "{result:?}");
    let (calls, steps) = event_loop.counts();
    assert_eq!(steps, 3);
    assert!(calls > steps);
}

#[test]
fn a_cancelled_task_is_dropped_and_its_future_cancelled() {
    struct Dropped(Rc<Cell<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let event_loop = event_loop();
    let dropped = Rc::new(Cell::new(false));
    let guard = Dropped(Rc::clone(&dropped));
    let never: Future<()> = event_loop.create_future();
    let task = event_loop.create_task(async move {
        let _guard = guard;
        never.await.is_ok()
    });
    let victim = task.clone();
    event_loop.call_later(Duration::ZERO, move || _ = victim.cancel());
    let result = event_loop.run_until_complete(&task);
    assert!(matches!(result, Err(Exception::Cancelled)));
    drop(task);
    drop(event_loop);
    assert!(dropped.get());
}

#[test]
fn wait_for_gives_up_what_never_ends() {
    let event_loop = event_loop();
    let never: Future<()> = event_loop.create_future();
    let waits = event_loop.clone();
    let task = event_loop.create_task(async move {
        let result = waits.wait_for(never, Duration::from_millis(1)).await;
        result.expect_err("it never ends").to_string()
    });
    let said = event_loop.run_until_complete(&task).unwrap();
    assert_eq!(said, io::Error::from(io::ErrorKind::TimedOut).to_string());
}

#[test]
fn other_threads_have_one_door() {
    let event_loop = event_loop();
    let door = event_loop.threadsafe();
    let thread = thread::spawn(move || door.call_soon_threadsafe(EventLoop::stop));
    event_loop.run_forever();
    thread.join().unwrap();
}

#[test]
fn coroutines_and_protocols_speak_on_the_same_loop() {
    struct Echo(Option<Transport>);
    impl Protocol for Echo {
        fn connection_made(&mut self, transport: &Transport) {
            self.0 = Some(transport.clone());
        }
        fn data_received(&mut self, data: &[u8]) {
            self.0.as_ref().expect("made first").write(data);
        }
        fn connection_lost(&mut self, _error: Option<io::Error>) {}
    }
    let event_loop = event_loop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = event_loop.create_server(listener, || Echo(None)).unwrap();
    let connects = event_loop.clone();
    let task = event_loop.create_task(async move {
        let stream = connects.open_connection(address).await?;
        // More than a socket takes at once, so that the transport has to wait for it.
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        stream.write(&sent);
        let (mut got, mut buf) = (Vec::new(), vec![0; 100_000]);
        while got.len() < sent.len() {
            let n = stream.read(&mut buf).await?;
            got.extend_from_slice(&buf[..n]);
        }
        Ok::<_, Exception>(got == sent)
    });
    assert!(matches!(event_loop.run_until_complete(&task), Ok(Ok(true))));
    server.close();
}

#[test]
fn nobody_listening_is_an_exception_of_the_future() {
    let event_loop = event_loop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connects = event_loop.clone();
    let task = event_loop.create_task(async move {
        connects.open_connection(address).await.err().map(|e| e.to_string())
    });
    let said = event_loop.run_until_complete(&task).unwrap().unwrap();
    assert!(said.contains("refused"), "{said}");
}
