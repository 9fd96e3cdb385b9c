//! One test for each line of the table "Not patched" of the README.

use super::*;

#[test]
fn thread_park() {
    // The greenlets of a program share the parking place of the worker.
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
    // In a process of its own: it would reap the children of other tests.
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
        // SAFETY: null means that no status is wanted.
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
    // The test writes a line when the reader is asleep; then the reader gets its input.
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

#[test]
fn opening_a_fifo() {
    let path = std::env::temp_dir().join(format!("gevent-style-{}", std::process::id()));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let theirs = path.clone();
    is_not_patched(
        move || drop(fs::File::open(path).unwrap()),
        move || {
            drop(fs::OpenOptions::new().write(true).open(&theirs).unwrap());
            fs::remove_file(theirs).unwrap();
        },
    );
}

#[test]
fn file_lock() {
    let open = || fs::File::open("/proc/self/exe").unwrap();
    let held = open();
    held.lock().unwrap();
    is_not_patched(move || open().lock().unwrap(), move || held.unlock().unwrap());
}

#[test]
fn sync_sender_send() {
    let (send, receive) = mpsc::sync_channel(1);
    send.send(()).unwrap();
    is_not_patched(
        move || send.send(()).unwrap(),
        move || (0..2).for_each(|_| receive.recv().unwrap()),
    );
}

#[test]
fn closing_a_socket_that_lingers() {
    let (near, mut far) = streams();
    near.set_nonblocking(true).unwrap();
    while { &near }.write(&[0; 1 << 12]).is_ok() {}
    near.set_nonblocking(false).unwrap();
    let linger = libc::linger { l_onoff: 1, l_linger: 60 };
    nix::sys::socket::setsockopt(&near, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    is_not_patched(move || drop(near), move || drop(io::copy(&mut far, &mut io::sink())));
}

#[test]
fn writing_much_to_a_terminal() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut near = fs::File::from(terminal.slave);
    let mut far = fs::File::from(terminal.master);
    is_not_patched(
        move || near.write_all(&vec![b'x'; 1 << 17]).unwrap(),
        move || far.read_exact(&mut vec![0; 1 << 17]).unwrap(),
    );
}

#[test]
#[expect(unsafe_code, reason = "calls of C")]
fn select_ppoll_and_epoll_wait() {
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use nix::sys::select::{FdSet, select};
    type Call = fn(&io::PipeReader);
    let selects: Call = |reader| {
        let mut set = FdSet::new();
        set.insert(std::os::fd::AsFd::as_fd(reader));
        assert_eq!(select(None, Some(&mut set), None, None, None), Ok(1));
    };
    let ppolls: Call = |reader| {
        let mut entry = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let (none, always) = (std::ptr::null(), std::ptr::null());
        // SAFETY: one entry, no timeout, no mask.
        assert_eq!(unsafe { libc::ppoll(&raw mut entry, 1, none, always) }, 1);
    };
    let epolls: Call = |reader| {
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        epoll.add(reader, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
        assert_eq!(epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE), Ok(1));
    };
    for call in [selects, ppolls, epolls] {
        let (reader, mut writer) = io::pipe().unwrap();
        is_not_patched(move || call(&reader), move || writer.write_all(b"!").unwrap());
    }
}

#[test]
fn once_cell_of_the_crate() {
    static CELL: once_cell::sync::OnceCell<u32> = once_cell::sync::OnceCell::new();
    let (begun, begins) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let os_thread = thread::spawn(move || {
        CELL.get_or_init(|| {
            begun.send(()).unwrap();
            goes.recv().unwrap();
            7
        });
    });
    begins.recv().unwrap();
    is_not_patched(|| assert_eq!(*CELL.get_or_init(|| 8), 7), move || go.send(()).unwrap());
    os_thread.join().unwrap();
}

#[test]
fn a_thread_pool() {
    let (send, receive) = mpsc::channel::<()>();
    is_not_patched(
        move || rayon::scope(move |scope| scope.spawn(move |_| receive.recv().unwrap())),
        move || send.send(()).unwrap(),
    );
}

#[test]
#[expect(unsafe_code, reason = "calls of C")]
fn locks_of_c() {
    // SAFETY: all zero is a place for a semaphore, which the next call makes one.
    let semaphore: &'static mut libc::sem_t = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
    let address = std::ptr::from_mut(semaphore).addr();
    // SAFETY: the place is ours, and stays.
    assert_eq!(unsafe { libc::sem_init(semaphore, 0, 0) }, 0);
    is_not_patched(
        // SAFETY: a semaphore, as above.
        move || assert_eq!(unsafe { libc::sem_wait(address as *mut libc::sem_t) }, 0),
        // SAFETY: a semaphore, as above.
        move || assert_eq!(unsafe { libc::sem_post(address as *mut libc::sem_t) }, 0),
    );
}

#[test]
fn a_child_of_fork() {
    succeeds_apart("tests::forks::runs_in_the_child");
}

#[test]
fn thread_spawn_makes_an_os_thread() {
    let (ours, theirs) = greenlets(|| (thread_id(), thread::spawn(thread_id).join().unwrap()));
    assert_ne!(ours, theirs);
}
