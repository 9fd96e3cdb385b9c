//! What greenlets do, and the two tables of the README: one test for each line of what is patched
//! and of what is not. The threads of the test harness are no greenlets; all tests share one hub.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use crate::event::Event;
use crate::greenlet::{self, Greenlet, GreenletExit, Timeout, iwait, joinall, with_timeout};
use crate::hub;
use crate::monkey;

/// A net under a test that would hang: nothing is measured with it.
pub const NET: Duration = Duration::from_mins(1);

/// Runs `f` as a main greenlet, patched.
pub fn greenlets<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    monkey::patch_all();
    let (done, result) = mpsc::channel();
    let main = thread::spawn(move || {
        let value = greenlet::run(f);
        let _ = done.send(());
        value
    });
    assert!(result.recv_timeout(NET) != Err(mpsc::RecvTimeoutError::Timeout), "the greenlets hang");
    main.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Who came when.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn push(&self, who: char) {
        self.0.lock().unwrap().push(who);
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// One greenlet blocks and then writes an `a`. The next one writes a `b` and only then does what
/// the first one waits for. Cooperative or it hangs.
#[track_caller]
fn is_patched(block: impl FnOnce() + Send + 'static, release: impl FnOnce() + Send + 'static) {
    assert_eq!(greenlets(|| order(block, release)), "ba");
}

fn order(block: impl FnOnce() + Send + 'static, release: impl FnOnce() + Send + 'static) -> String {
    let log = Log::default();
    let (a, b) = (log.clone(), log.clone());
    let first = greenlet::spawn(move || {
        block();
        a.push('a');
    });
    let second = greenlet::spawn(move || {
        b.push('b');
        release();
    });
    first.join().unwrap();
    second.join().unwrap();
    log.text()
}

/// As `is_patched`, but an OS thread releases the first greenlet, once the worker is seen asleep
/// in the kernel: the second greenlet has not had its turn.
#[track_caller]
fn is_not_patched(block: impl FnOnce() + Send + 'static, release: impl FnOnce() + Send + 'static) {
    let order = greenlets(|| {
        let log = Log::default();
        let (a, b) = (log.clone(), log.clone());
        let worker = Arc::new(AtomicUsize::new(0));
        let releaser = thread::spawn({
            let worker = worker.clone();
            move || {
                wait_until_asleep(&worker);
                release();
            }
        });
        let first = greenlet::spawn(move || {
            worker.store(thread_id(), Ordering::SeqCst);
            block();
            a.push('a');
        });
        let second = greenlet::spawn(move || b.push('b'));
        first.join().unwrap();
        second.join().unwrap();
        releaser.join().unwrap();
        log.text()
    });
    assert_eq!(order, "ab");
}

fn wait_until_asleep(worker: &AtomicUsize) {
    loop {
        let id = worker.load(Ordering::SeqCst);
        if id != 0 {
            let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap();
            let (_, state) = stat.rsplit_once(") ").unwrap();
            if state.starts_with('S') {
                return;
            }
        }
        thread::yield_now();
    }
}

#[expect(unsafe_code, reason = "gettid")]
fn thread_id() -> usize {
    // SAFETY: takes no pointer.
    unsafe { libc::gettid() as usize }
}

/// std asks for 128; a burst of more would wait for the kernel's second try, a second later.
#[expect(unsafe_code, reason = "listen")]
fn lengthen_backlog(listener: &TcpListener) {
    // SAFETY: takes no pointer; a listener may be told again.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 4096) }, 0);
}

fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

mod greenlets {
    use super::*;

    #[test]
    fn join_gives_the_result() {
        assert_eq!(greenlets(|| greenlet::spawn(|| 6 * 7).join().unwrap()), 42);
    }

    #[test]
    fn a_panic_is_the_error_of_that_greenlet_only() {
        let (error, other) = greenlets(|| {
            let bad = greenlet::spawn(|| panic!("out of cheese"));
            let good = greenlet::spawn(|| 1);
            (bad.join().unwrap_err(), good.join().unwrap())
        });
        assert_eq!(error.downcast_ref(), Some(&"out of cheese"));
        assert_eq!(other, 1);
    }

    #[test]
    fn a_panic_of_the_main_greenlet_goes_on_in_the_thread_that_runs_it() {
        let result = thread::spawn(|| greenlet::run(|| panic!("main"))).join();
        assert_eq!(result.unwrap_err().downcast_ref(), Some(&"main"));
    }

    #[test]
    fn run_borrows_from_its_caller() {
        let mut seen = Vec::new();
        greenlet::run(|| seen.push(1));
        greenlet::run(|| greenlet::run(|| seen.push(2)));
        assert_eq!(seen, [1, 2]);
    }

    #[test]
    fn nothing_of_a_new_greenlet_runs_before_its_spawner_waits() {
        let order = greenlets(|| {
            let log = Log::default();
            let mut tasks = Vec::new();
            for name in ['1', '2', '3'] {
                let log = log.clone();
                tasks.push(greenlet::spawn(move || {
                    log.push(name);
                    thread::yield_now();
                    log.push(name);
                }));
            }
            log.push('0');
            for task in tasks {
                task.join().unwrap();
            }
            log.text()
        });
        assert_eq!(order, "0123123");
    }

    #[test]
    fn all_run_on_one_os_thread() {
        let threads = greenlets(|| {
            let tasks: Vec<_> = (0..50)
                .map(|i| {
                    greenlet::spawn(move || {
                        thread::sleep(Duration::from_millis(i % 5));
                        hub::offload(|| ());
                        thread_id()
                    })
                })
                .collect();
            let mut ids: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
            ids.dedup();
            ids.len()
        });
        assert_eq!(threads, 1);
    }

    #[test]
    fn an_os_thread_can_spawn_and_join_too() {
        monkey::patch_all();
        let task = greenlet::spawn(|| thread::sleep(Duration::from_millis(1)));
        task.join().unwrap();
    }

    #[test]
    fn a_blocked_read_of_a_killed_greenlet_fails() {
        let error = greenlets(|| {
            let (mut near, _far) = streams();
            let task = greenlet::spawn(move || near.read(&mut [0; 8]));
            thread::yield_now(); // now it waits
            task.kill();
            task.join().unwrap().unwrap_err()
        });
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    }

    #[test]
    fn a_kill_is_delivered_once() {
        let (first, second) = greenlets(|| {
            let (mut near, mut far) = streams();
            let task = greenlet::spawn(move || {
                let mut buf = [0; 8];
                let first = near.read(&mut buf);
                (first.is_err(), near.read(&mut buf).unwrap())
            });
            thread::yield_now();
            task.kill();
            thread::yield_now();
            far.write_all(b"late").unwrap();
            task.join().unwrap()
        });
        assert!(first);
        assert_eq!(second, 4);
    }

    #[test]
    fn a_kill_ends_a_sleep_early_and_is_reported_by_the_next_call() {
        let error = greenlets(|| {
            let (mut near, _far) = streams();
            let task = greenlet::spawn(move || {
                thread::sleep(2 * NET);
                near.read(&mut [0; 8])
            });
            thread::yield_now();
            task.kill();
            task.join().unwrap().unwrap_err()
        });
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    }

    #[test]
    fn a_greenlet_killed_before_it_starts_never_runs() {
        let (ran, error) = greenlets(|| {
            let ran = Arc::new(AtomicBool::new(false));
            let task = greenlet::spawn({
                let ran = ran.clone();
                move || ran.store(true, Ordering::SeqCst)
            });
            task.kill();
            let error = task.join().unwrap_err();
            (ran.load(Ordering::SeqCst), error)
        });
        assert!(!ran);
        assert!(error.is::<GreenletExit>());
    }

    #[test]
    fn a_kill_unwinds_our_own_waits_and_destructors_run() {
        struct Note(Arc<AtomicBool>);
        impl Drop for Note {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (dropped, error) = greenlets(|| {
            let dropped = Arc::new(AtomicBool::new(false));
            let note = Note(dropped.clone());
            let task = greenlet::spawn(move || {
                let _note = note;
                greenlet::sleep(2 * NET);
            });
            thread::yield_now();
            task.kill();
            let error = task.join().unwrap_err();
            (dropped.load(Ordering::SeqCst), error)
        });
        assert!(dropped);
        assert!(error.is::<GreenletExit>());
    }

    #[test]
    fn a_lock_is_waited_for_in_spite_of_a_kill() {
        let (got, sum) = greenlets(|| {
            let lock = Arc::new(Mutex::new(1));
            let held = lock.lock().unwrap();
            let task = greenlet::spawn({
                let lock = lock.clone();
                move || {
                    *lock.lock().unwrap() += 1;
                    greenlet::sleep(2 * NET);
                }
            });
            thread::yield_now();
            task.kill();
            thread::yield_now();
            let got = *held;
            drop(held);
            assert!(task.join().unwrap_err().is::<GreenletExit>());
            let sum = *lock.lock().unwrap();
            (got, sum)
        });
        assert_eq!((got, sum), (1, 2));
    }

    #[test]
    fn with_timeout_cuts_a_read() {
        let (result, kind) = greenlets(|| {
            let (mut near, _far) = streams();
            let mut kind = None;
            let result = with_timeout(Duration::from_millis(1), || {
                kind = Some(near.read(&mut [0; 8]).unwrap_err().kind());
            });
            (result, kind)
        });
        assert_eq!(result, Err(Timeout));
        assert_eq!(kind, Some(io::ErrorKind::TimedOut));
    }

    #[test]
    fn with_timeout_cuts_our_own_waits() {
        let result = greenlets(|| {
            let task = greenlet::spawn(|| greenlet::sleep(2 * NET));
            with_timeout(Duration::from_millis(1), || task.join().is_ok())
        });
        assert_eq!(result, Err(Timeout));
    }

    #[test]
    fn the_shorter_of_two_with_timeouts_ends_only_itself() {
        let result = greenlets(|| {
            with_timeout(2 * NET, || {
                with_timeout(Duration::from_millis(1), || greenlet::sleep(2 * NET))
            })
        });
        assert_eq!(result, Ok(Err(Timeout)));
    }

    #[test]
    fn an_outer_with_timeout_goes_through_an_inner_one() {
        let result = greenlets(|| {
            with_timeout(Duration::from_millis(1), || {
                with_timeout(2 * NET, || greenlet::sleep(2 * NET))
            })
        });
        assert_eq!(result, Err(Timeout));
    }

    #[test]
    fn joinall_waits_for_all_or_for_so_long() {
        let (all, in_time) = greenlets(|| {
            let short = [(); 3].map(|()| greenlet::spawn(|| greenlet::sleep(Duration::ZERO)));
            let long = [greenlet::spawn(|| greenlet::sleep(2 * NET))];
            let all = joinall(&short, None) && short.iter().all(Greenlet::ready);
            (all, joinall(&long, Some(Duration::from_millis(1))))
        });
        assert!(all);
        assert!(!in_time);
    }

    #[test]
    fn iwait_gives_them_in_the_order_they_finish() {
        let order: Vec<usize> = greenlets(|| {
            let gates = [(); 3].map(|()| Event::new());
            let tasks = (0..3).map(|i| {
                let gate = gates[i].clone();
                greenlet::spawn(move || {
                    gate.wait();
                    i
                })
            });
            let mut finished = iwait(tasks.collect());
            [2, 0, 1]
                .map(|i| {
                    gates[i].set();
                    finished.next().unwrap().join().unwrap()
                })
                .into()
        });
        assert_eq!(order, [2, 0, 1]);
    }

    #[test]
    fn in_time_with_timeout_gives_the_value_and_leaves_no_limit() {
        let result = greenlets(|| {
            let value = with_timeout(NET, || 7);
            greenlet::sleep(Duration::from_millis(1));
            value
        });
        assert_eq!(result, Ok(7));
    }

    #[test]
    fn a_panic_elsewhere_is_not_seen_as_one_of_ours() {
        // The destructor that blocks while unwinding must not let anybody else run.
        struct BlockingDrop(TcpStream);
        impl Drop for BlockingDrop {
            fn drop(&mut self) {
                let _ = self.0.read(&mut [0; 8]);
            }
        }
        let panicking = greenlets(|| {
            let (near, mut far) = streams();
            let bad = greenlet::spawn(move || {
                let _guard = BlockingDrop(near);
                panic!("unwinding");
            });
            let watcher = greenlet::spawn(thread::panicking);
            let feeder = thread::spawn(move || far.write_all(b"go on"));
            assert!(bad.join().is_err());
            feeder.join().unwrap().unwrap();
            watcher.join().unwrap()
        });
        assert!(!panicking);
    }

    #[test]
    fn offload_gives_back_value_and_panic() {
        let (value, panic) = greenlets(|| {
            let words = String::from("borrowed");
            let value = hub::offload(|| words.len());
            let task = greenlet::spawn(|| hub::offload(|| panic!("helper")));
            (value, task.join())
        });
        assert_eq!(value, 8);
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"helper"));
    }

    #[test]
    fn more_jobs_than_helpers_are_all_done() {
        let sum: usize = greenlets(|| {
            let tasks: Vec<_> =
                (0..100).map(|i| greenlet::spawn(move || hub::offload(|| i))).collect();
            tasks.into_iter().map(|task| task.join().unwrap()).sum()
        });
        assert_eq!(sum, 4950);
    }

    #[test]
    fn an_io_task_gets_its_turn_beside_two_that_only_yield() {
        let ok = greenlets(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let spinners: Vec<_> = (0..2)
                .map(|_| {
                    let stop = stop.clone();
                    greenlet::spawn(move || {
                        while !stop.load(Ordering::SeqCst) {
                            thread::yield_now();
                        }
                    })
                })
                .collect();
            let (mut near, mut far) = streams();
            let reader = greenlet::spawn(move || near.read(&mut [0; 8]).unwrap());
            thread::spawn(move || far.write_all(b"!").unwrap());
            let n = reader.join().unwrap();
            stop.store(true, Ordering::SeqCst);
            spinners.into_iter().all(|task| task.join().is_ok()) && n == 1
        });
        assert!(ok);
    }

    #[test]
    fn a_thousand_connections_at_once() {
        const MANY: usize = 1_000;
        let bytes = greenlets(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            lengthen_backlog(&listener);
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> = (0..MANY)
                .map(|_| {
                    greenlet::spawn(move || {
                        let mut socket = TcpStream::connect(address).unwrap();
                        let mut all = Vec::new();
                        socket.read_to_end(&mut all).unwrap();
                        all.len()
                    })
                })
                .collect();
            // Nobody is answered before everybody is connected: all of them wait at once.
            let sockets: Vec<_> = (0..MANY).map(|_| listener.accept().unwrap().0).collect();
            for mut socket in sockets {
                socket.write_all(b"page").unwrap();
            }
            clients.into_iter().map(|task| task.join().unwrap()).sum::<usize>()
        });
        assert_eq!(bytes, 4 * MANY);
    }
}

mod patched {
    use super::*;

    #[test]
    fn thread_sleep() {
        let done = Arc::new(AtomicBool::new(false));
        let set = done.clone();
        is_patched(
            move || {
                while !done.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                }
            },
            move || set.store(true, Ordering::SeqCst),
        );
    }

    #[test]
    fn thread_yield_now() {
        let done = Arc::new(AtomicBool::new(false));
        let set = done.clone();
        is_patched(
            move || {
                while !done.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
            },
            move || set.store(true, Ordering::SeqCst),
        );
    }

    #[test]
    fn tcp_read_and_peek() {
        let (mut near, mut far) = streams();
        is_patched(
            move || {
                let mut buf = [0; 8];
                assert_eq!(near.peek(&mut buf).unwrap(), 2);
                assert_eq!(near.read(&mut buf).unwrap(), 2);
            },
            move || far.write_all(b"hi").unwrap(),
        );
    }

    #[test]
    fn tcp_write_to_a_peer_that_is_slow() {
        let (mut near, mut far) = streams();
        let much = vec![7; 8 << 20];
        is_patched(
            move || {
                near.write_all(&much).unwrap();
                near.shutdown(Shutdown::Write).unwrap();
            },
            move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), 8 << 20);
            },
        );
    }

    #[test]
    fn tcp_read_vectored() {
        let (mut near, mut far) = streams();
        is_patched(
            move || {
                let (mut one, mut two) = ([0; 1], [0; 8]);
                let mut parts = [io::IoSliceMut::new(&mut one), io::IoSliceMut::new(&mut two)];
                assert_eq!(near.read_vectored(&mut parts).unwrap(), 3);
                assert_eq!(&two[..2], b"bc");
            },
            move || {
                let parts = [io::IoSlice::new(b"a"), io::IoSlice::new(b"bc")];
                assert_eq!(far.write_vectored(&parts).unwrap(), 3);
            },
        );
    }

    #[test]
    fn tcp_accept_and_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        is_patched(
            move || drop(listener.accept().unwrap()),
            move || drop(TcpStream::connect(address).unwrap()),
        );
    }

    #[test]
    fn an_accept_ends_when_the_listener_is_shut_down() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = listener.try_clone().unwrap();
        is_patched(
            move || assert!(listener.accept().is_err()),
            move || {
                let socket = TcpStream::from(OwnedFd::from(theirs));
                socket.shutdown(Shutdown::Both).unwrap();
            },
        );
    }

    #[test]
    fn tcp_connect_refused() {
        let kind = greenlets(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            TcpStream::connect(address).unwrap_err().kind()
        });
        assert_eq!(kind, io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn tcp_connect_timeout() {
        let address = greenlets(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let socket = TcpStream::connect_timeout(&address, NET).unwrap();
            socket.peer_addr().unwrap() == address
        });
        assert!(address);
    }

    #[test]
    fn read_timeout() {
        let kind = greenlets(|| {
            let (mut near, _far) = streams();
            near.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
            near.read(&mut [0; 8]).unwrap_err().kind()
        });
        assert_eq!(kind, io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_socket_set_nonblocking_stays_so() {
        let kind = greenlets(|| {
            let (mut near, _far) = streams();
            near.set_nonblocking(true).unwrap();
            near.read(&mut [0; 8]).unwrap_err().kind()
        });
        assert_eq!(kind, io::ErrorKind::WouldBlock);
    }

    #[test]
    fn udp_receive() {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = near.local_addr().unwrap();
        is_patched(
            move || assert_eq!(near.recv_from(&mut [0; 8]).unwrap().0, 2),
            move || assert_eq!(far.send_to(b"hi", address).unwrap(), 2),
        );
    }

    #[test]
    fn unix_sockets() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        is_patched(
            move || {
                let mut all = Vec::new();
                near.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), 4 << 20);
            },
            move || far.write_all(&vec![7; 4 << 20]).unwrap(),
        );
    }

    #[test]
    fn pipes_both_ways() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        is_patched(
            move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), 1 << 20);
            },
            // Much more than the pipe holds: one write must not take the worker along.
            move || writer.write_all(&vec![7; 1 << 20]).unwrap(),
        );
    }

    #[test]
    fn a_vectored_write_to_a_pipe() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        is_patched(
            move || {
                let mut left = 1 << 20;
                let zeros = vec![0; left];
                while left > 0 {
                    let parts = [io::IoSlice::new(&[]), io::IoSlice::new(&zeros[..left])];
                    left -= writer.write_vectored(&parts).unwrap();
                }
            },
            move || assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 1 << 20),
        );
    }

    #[test]
    fn looking_up_a_name() {
        let order = greenlets(|| {
            // All helpers are kept busy until the second greenlet has run.
            let busy = Arc::new((Mutex::new(true), Condvar::new()));
            for _ in 0..hub::HELPERS {
                let busy = busy.clone();
                greenlet::spawn(move || {
                    hub::offload(|| {
                        let (flag, changed) = &*busy;
                        drop(changed.wait_while(flag.lock().unwrap(), |busy| *busy).unwrap());
                    });
                });
            }
            thread::yield_now();
            order(
                || assert!(("localhost", 80).to_socket_addrs().unwrap().count() > 0),
                move || {
                    *busy.0.lock().unwrap() = false;
                    busy.1.notify_all();
                },
            )
        });
        assert_eq!(order, "ba");
    }

    #[test]
    fn waiting_for_a_child_process() {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let input = cat.stdin.take().unwrap();
        is_patched(move || assert!(cat.wait().unwrap().success()), move || drop(input));
    }

    #[test]
    fn the_output_of_a_command() {
        let (reader, writer) = io::pipe().unwrap();
        is_patched(
            move || {
                let output = Command::new("cat").stdin(reader).output().unwrap();
                assert_eq!(output.stdout, b"through");
            },
            move || { &writer }.write_all(b"through").unwrap(),
        );
    }

    #[test]
    fn joining_an_os_thread() {
        let (send, receive) = mpsc::channel();
        let os_thread = thread::spawn(move || receive.recv().unwrap());
        is_patched(move || os_thread.join().unwrap(), move || send.send(()).unwrap());
    }

    #[test]
    fn a_mutex_held_across_a_wait() {
        let order = greenlets(|| {
            let log = Log::default();
            let lock = Arc::new(Mutex::new(()));
            let tasks: Vec<_> = ['1', '2', '3']
                .map(|name| {
                    let (log, lock) = (log.clone(), lock.clone());
                    greenlet::spawn(move || {
                        let _held = lock.lock().unwrap();
                        log.push(name);
                        thread::sleep(Duration::from_millis(1));
                        log.push(name);
                    })
                })
                .into();
            for task in tasks {
                task.join().unwrap();
            }
            log.text()
        });
        assert_eq!(order, "112233");
    }

    #[test]
    fn a_mutex_shared_with_os_threads() {
        const EACH: usize = 2_000;
        let sum = greenlets(|| {
            let count = Arc::new(Mutex::new(0));
            let add = |count: &Mutex<usize>| {
                for _ in 0..EACH {
                    let mut held = count.lock().unwrap();
                    *held += 1;
                    if held.is_multiple_of(100) {
                        thread::yield_now();
                    }
                }
            };
            let greenlets = [(); 4].map(|()| {
                let count = count.clone();
                greenlet::spawn(move || add(&count))
            });
            let threads = [(); 2].map(|()| {
                let count = count.clone();
                thread::spawn(move || add(&count))
            });
            for task in greenlets {
                task.join().unwrap();
            }
            for thread in threads {
                thread.join().unwrap();
            }
            *count.lock().unwrap()
        });
        assert_eq!(sum, 6 * EACH);
    }

    #[test]
    fn condvar() {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = pair.clone();
        is_patched(
            move || {
                let (flag, changed) = &*pair;
                drop(changed.wait_while(flag.lock().unwrap(), |set| !*set).unwrap());
            },
            move || {
                *theirs.0.lock().unwrap() = true;
                theirs.1.notify_one();
            },
        );
    }

    #[test]
    fn condvar_with_a_timeout() {
        let timed_out = greenlets(|| {
            let (lock, never) = (Mutex::new(()), Condvar::new());
            let (_held, result) =
                never.wait_timeout(lock.lock().unwrap(), Duration::from_millis(1)).unwrap();
            result.timed_out()
        });
        assert!(timed_out);
    }

    #[test]
    fn rwlock() {
        let lock = Arc::new(RwLock::new(0));
        let theirs = lock.clone();
        let (go, wait) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
        let (their_go, their_wait) = (go.clone(), wait.clone());
        is_patched(
            move || {
                go.wait();
                // The other one holds the lock for writing, across a wait.
                assert!(wait.load(Ordering::SeqCst));
                assert_eq!(*lock.read().unwrap(), 1);
            },
            move || {
                let mut held = theirs.write().unwrap();
                their_wait.store(true, Ordering::SeqCst);
                their_go.wait();
                thread::yield_now();
                *held = 1;
            },
        );
    }

    #[test]
    fn barrier() {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        is_patched(
            move || assert!(!barrier.wait().is_leader()),
            move || assert!(theirs.wait().is_leader()),
        );
    }

    #[test]
    fn once_and_lazy_lock() {
        static ONCE: Once = Once::new();
        static LAZY: LazyLock<u32> = LazyLock::new(|| {
            thread::sleep(Duration::from_millis(1));
            7
        });
        let sum: u32 = greenlets(|| {
            let tasks = [(); 3].map(|()| {
                greenlet::spawn(|| {
                    ONCE.call_once(|| thread::sleep(Duration::from_millis(1)));
                    *LAZY
                })
            });
            tasks.map(|task| task.join().unwrap()).iter().sum()
        });
        assert_eq!(sum, 21);
    }
}

mod not_patched {
    use super::*;

    #[test]
    fn thread_park() {
        // The greenlets of a program share one parking place: that of the worker.
        let (send, receive) = mpsc::channel();
        is_not_patched(
            move || {
                send.send(thread::current()).unwrap();
                thread::park();
            },
            move || receive.recv().unwrap().unpark(),
        );
    }

    #[test]
    fn mpsc_recv() {
        let (send, receive) = mpsc::channel();
        is_not_patched(move || receive.recv().unwrap(), move || send.send(()).unwrap());
    }

    #[test]
    fn the_end_of_a_thread_scope() {
        let (send, receive) = mpsc::channel();
        is_not_patched(
            move || {
                thread::scope(|scope| {
                    scope.spawn(move || receive.recv().unwrap());
                });
            },
            move || send.send(()).unwrap(),
        );
    }

    #[test]
    #[expect(unsafe_code, reason = "a raw system call")]
    fn a_raw_system_call() {
        let (reader, mut writer) = io::pipe().unwrap();
        is_not_patched(
            move || {
                let fd = reader.as_raw_fd();
                let mut buf = [0_u8; 8];
                // SAFETY: `buf` is writable for its length.
                let n = unsafe { libc::syscall(libc::SYS_read, fd, buf.as_mut_ptr(), buf.len()) };
                assert_eq!(n, 2);
            },
            move || writer.write_all(b"hi").unwrap(),
        );
    }

    #[test]
    #[expect(unsafe_code, reason = "usleep")]
    fn what_libc_calls_inside_itself() {
        is_not_patched(
            // SAFETY: takes no pointer.
            || assert_eq!(unsafe { libc::usleep(1_000) }, 0),
            || {},
        );
    }

    #[test]
    fn copying_from_a_pipe_to_a_socket() {
        let (mut near, mut far) = streams();
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let cat = cat.as_mut().unwrap();
        let (mut input, mut output) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        is_not_patched(
            move || assert_eq!(io::copy(&mut output, &mut near).unwrap(), 4),
            move || input.write_all(b"text").unwrap(),
        );
        cat.wait().unwrap();
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 4);
    }

    #[test]
    fn waiting_for_any_child() {
        // In a process of its own: it would take away the children of other tests.
        let test = "tests::not_patched::in_a_child_of_its_own";
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).args(["--exact", test, "--ignored"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    #[test]
    #[ignore = "is run by the one above, in a process of its own"]
    #[expect(unsafe_code, reason = "waitpid for any child")]
    fn in_a_child_of_its_own() {
        let cat = Command::new("cat").stdin(Stdio::piped()).spawn();
        let input = cat.unwrap().stdin.take().unwrap();
        is_not_patched(
            // SAFETY: null stands for "no status, please".
            || assert!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0),
            move || drop(input),
        );
    }

    #[test]
    fn standard_input() {
        let test = "tests::not_patched::reads_its_standard_input";
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", test, "--ignored"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The test writes a line when its reader is asleep; then it gets its input.
        let mut input = child.stdin.take().unwrap();
        let mut output = io::BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("asleep") {
            assert!(io::BufRead::read_line(&mut output, &mut said).unwrap() > 0, "{said}");
        }
        input.write_all(b"line\n").unwrap();
        output.read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success(), "{said}");
    }

    #[test]
    #[ignore = "is run by the one above, in a process of its own"]
    fn reads_its_standard_input() {
        is_not_patched(
            || assert_eq!(io::stdin().read_line(&mut String::new()).unwrap(), 5),
            || io::stdout().write_all(b"asleep\n").unwrap(),
        );
    }

    #[test]
    fn regular_files() {
        let order = greenlets(|| {
            order(|| assert!(fs::read("/proc/self/exe").unwrap().starts_with(b"\x7fELF")), || {})
        });
        assert_eq!(order, "ab");
    }

    #[test]
    fn a_loop_that_computes() {
        let order = greenlets(|| {
            let log = Log::default();
            let (a, b) = (log.clone(), log.clone());
            let first = greenlet::spawn(move || {
                assert!((0..1_000_000_u64).fold(0, |x, y| x ^ y.wrapping_mul(y)) > 0);
                a.push('a');
            });
            let second = greenlet::spawn(move || b.push('b'));
            first.join().unwrap();
            second.join().unwrap();
            log.text()
        });
        assert_eq!(order, "ab");
    }

    #[test]
    fn thread_locals_belong_to_the_worker() {
        thread_local!(static NAME: Cell<u32> = const { Cell::new(0) });
        let seen = greenlets(|| {
            let tasks = [1, 2].map(|name| {
                greenlet::spawn(move || {
                    NAME.set(name);
                    thread::yield_now();
                    NAME.get()
                })
            });
            tasks.map(|task| task.join().unwrap())
        });
        assert_eq!(seen, [2, 2]);
    }
}

mod readme {
    /// Each line of the two tables names its test.
    #[test]
    fn every_line_of_the_tables_names_a_test_that_exists() {
        let readme = include_str!("../README.md");
        let tests = include_str!("tests.rs");
        for (heading, module) in
            [("### Patched", "mod patched {"), ("### Not patched", "mod not_patched {")]
        {
            let table = readme.split(heading).nth(1).unwrap().split("\n#").next().unwrap();
            let module = tests.split(module).nth(1).unwrap().split("\nmod ").next().unwrap();
            let rows: Vec<_> =
                table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
            assert!(rows.len() > 5, "{heading}: {rows:?}");
            for row in rows {
                let test = row.rsplit('`').nth(1).unwrap();
                assert!(module.contains(&format!("fn {test}()")), "no test {test}");
            }
        }
    }
}

mod limits {
    use super::*;

    #[test]
    fn beyond_what_the_machine_can_hold_spawn_says_so() {
        // In a process of its own: here the other tests would find no room.
        let test = "tests::limits::as_many_as_possible";
        let program = std::env::current_exe().unwrap();
        let arguments = ["--exact", test, "--ignored", "--nocapture"];
        let output = Command::new(program).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("vm.max_map_count"), "{said}");
    }

    #[test]
    #[ignore = "is run by the one above, in a process of its own"]
    fn as_many_as_possible() {
        greenlets(|| {
            let gate = Event::new();
            let mut tasks = Vec::new();
            let error = loop {
                let gate = gate.clone();
                match greenlet::try_spawn(move || gate.wait()) {
                    Ok(task) => tasks.push(task),
                    Err(error) => break error,
                }
            };
            println!("{} greenlets, then: {error}", tasks.len());
            // Less than that only if other tests run in this process after all.
            assert!(tasks.len() <= greenlet::most() && tasks.len() > greenlet::most() * 9 / 10);
            // `spawn` says the same when it is joined.
            let late = greenlet::spawn(|| ()).join().unwrap_err();
            assert_eq!(late.downcast_ref::<io::Error>().unwrap().kind(), error.kind());
            gate.set();
            assert!(tasks.into_iter().all(|task| task.join().is_ok()));
            // Whoever has finished makes room.
            greenlet::try_spawn(|| ()).unwrap().join().unwrap();
        });
    }
}

/// Random operations and kills from greenlets and OS threads, all at once, for a while.
mod soak {
    use std::time::Instant;

    use super::*;
    use crate::pool::Pool;
    use crate::queue::Queue;

    const GREENLETS: usize = 100;
    const THREADS: usize = 2;

    #[test]
    fn a_second() {
        soak(Duration::from_secs(1));
    }

    #[test]
    #[ignore = "takes half a minute"]
    fn half_a_minute() {
        let before = resident_kib();
        soak(Duration::from_secs(3));
        let warm = resident_kib();
        soak(Duration::from_secs(27));
        let after = resident_kib();
        println!("resident: {before} KiB, after 3 s {warm} KiB, after 30 s {after} KiB");
        // What leaks does so with each of some hundred thousand operations.
        assert!(after < warm + 8 * 1024, "grew from {warm} to {after} KiB");
    }

    fn resident_kib() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// What all of them share.
    struct Shared {
        until: Instant,
        count: Mutex<u64>,
        read: RwLock<u64>,
        changed: Condvar,
        queue: Queue<u64>,
        done: AtomicUsize,
        counted: AtomicUsize,
    }

    fn soak(span: Duration) {
        let shared = Arc::new(Shared {
            until: Instant::now() + span,
            count: Mutex::new(0),
            read: RwLock::new(0),
            changed: Condvar::new(),
            queue: Queue::bounded(50),
            done: AtomicUsize::new(0),
            counted: AtomicUsize::new(0),
        });
        let theirs = shared.clone();
        greenlets(move || {
            let threads = (0..THREADS).map(|i| {
                let shared = theirs.clone();
                thread::spawn(move || keep_on(&shared, i))
            });
            let threads: Vec<_> = threads.collect();
            let mut random = Random(77);
            let mut tasks: Vec<Option<Greenlet<()>>> = (0..GREENLETS).map(|_| None).collect();
            while Instant::now() < theirs.until {
                // One of them is killed, waited for, and replaced.
                let i = random.below(GREENLETS);
                if let Some(task) = tasks[i].take() {
                    task.kill();
                    let _ = task.join();
                }
                let shared = theirs.clone();
                let seed = random.next() as usize;
                tasks[i] = Some(greenlet::spawn(move || keep_on(&shared, seed)));
                thread::sleep(Duration::from_micros(300));
            }
            for task in tasks.into_iter().flatten() {
                task.kill();
                let _ = task.join();
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
        let counted = shared.counted.load(Ordering::SeqCst) as u64;
        assert_eq!(*shared.count.lock().unwrap_or_else(PoisonError::into_inner), counted);
        println!("{} operations", shared.done.load(Ordering::SeqCst));
    }

    fn keep_on(shared: &Arc<Shared>, seed: usize) {
        let mut random = Random(seed as u64 + 1);
        let (mut near, mut far) = UnixStream::pair().unwrap();
        while Instant::now() < shared.until {
            if one_operation(shared, &mut random, &mut near, &mut far).is_err() {
                // A read or write that was killed: the two no longer agree on what was sent.
                return;
            }
            shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn one_operation(
        shared: &Arc<Shared>,
        random: &mut Random,
        near: &mut UnixStream,
        far: &mut UnixStream,
    ) -> io::Result<()> {
        let short = Duration::from_micros(random.next() % 2_000);
        match random.below(12) {
            0 => thread::sleep(short),
            1 => thread::yield_now(),
            2 => echo(random, near, far)?,
            3 => {
                near.set_read_timeout(Some(short + Duration::from_micros(1)))?;
                let error = near.read(&mut [0]).unwrap_err();
                near.set_read_timeout(None)?;
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
            }
            4 => {
                let mut count = shared.count.lock().unwrap_or_else(PoisonError::into_inner);
                let before = *count;
                thread::sleep(Duration::from_micros(50)); // with the lock
                *count = before + 1;
                shared.counted.fetch_add(1, Ordering::SeqCst);
            }
            5 => {
                *shared.read.write().unwrap_or_else(PoisonError::into_inner) += 1;
                thread::yield_now();
                let _seen = *shared.read.read().unwrap_or_else(PoisonError::into_inner);
            }
            6 => {
                let count = shared.count.lock().unwrap_or_else(PoisonError::into_inner);
                drop(shared.changed.wait_timeout(count, short));
            }
            7 => shared.changed.notify_all(),
            8 => drop(shared.queue.try_put(random.next())),
            9 => drop(shared.queue.get_timeout(short)),
            10 => {
                let panicking = greenlet::spawn(|| resume_unwind(Box::new("on purpose")));
                assert!(panicking.join().is_err());
            }
            _ => {
                let _ = with_timeout(short, || Pool::new(2).map(0..3_u64, greenlet_sleep));
            }
        }
        Ok(())
    }

    fn greenlet_sleep(tenths: u64) {
        greenlet::sleep(Duration::from_micros(100 * tenths));
    }

    /// What goes in one end comes out of the other.
    fn echo(random: &mut Random, near: &mut UnixStream, far: &mut UnixStream) -> io::Result<()> {
        let sent = random.next().to_ne_bytes();
        near.write_all(&sent)?;
        let mut got = [0; 8];
        far.read_exact(&mut got)?;
        assert_eq!(got, sent);
        Ok(())
    }

    /// Numbers without a pattern that matters: xorshift.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, n: usize) -> usize {
            (self.next() % n as u64) as usize
        }
    }
}
