//! One test for each line of the table "Not patched" of the README.

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
