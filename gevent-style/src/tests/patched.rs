//! One test for each line of the table "Patched" of the README.

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
        let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
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
        // Much more than the pipe holds: one write must not block the worker.
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
        for _ in 0..helpers::HELPERS {
            let busy = busy.clone();
            greenlet::spawn(move || {
                helpers::offload(|| {
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
