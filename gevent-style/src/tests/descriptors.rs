//! Descriptors that are shared, reused, full, or not there at all.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use super::*;

#[test]
fn a_listener_is_shared_with_an_os_thread() {
    const MANY: usize = 300;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let accept_all = |accepted: &AtomicUsize, listener: &TcpListener| {
        while listener.accept().is_ok_and(|(socket, _)| { &socket }.write_all(b"!").is_ok()) {
            accepted.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (theirs, count) = (listener.try_clone().unwrap(), accepted.clone());
    let os_thread = thread::spawn(move || accept_all(&count, &theirs));
    let (theirs, count) = (listener.try_clone().unwrap(), accepted.clone());
    let all = greenlets(move || {
        let task = greenlet::spawn(move || accept_all(&count, &theirs));
        let got = (0..MANY).all(|_| {
            let mut client = TcpStream::connect(address).unwrap();
            client.read_exact(&mut [0]).is_ok()
        });
        let socket = TcpStream::from(OwnedFd::from(listener));
        socket.shutdown(Shutdown::Both).unwrap();
        task.join().unwrap();
        got
    });
    os_thread.join().unwrap();
    assert!(all);
    assert_eq!(accepted.load(Ordering::SeqCst), MANY);
}

#[test]
fn a_pipe_is_read_by_an_os_thread_too() {
    const MANY: usize = 2_000;
    let (reader, mut writer) = io::pipe().unwrap();
    let read_all = |reader: &mut io::PipeReader| {
        let mut all = 0;
        while reader.read(&mut [0]).unwrap() > 0 {
            all += 1;
        }
        all
    };
    let mut theirs = reader.try_clone().unwrap();
    let os_thread = thread::spawn(move || read_all(&mut theirs));
    let mut reader = reader;
    let ours: usize = greenlets(move || {
        let task = greenlet::spawn(move || read_all(&mut reader));
        for _ in 0..MANY {
            writer.write_all(b"!").unwrap();
            thread::yield_now();
        }
        drop(writer);
        task.join().unwrap()
    });
    assert_eq!(ours + os_thread.join().unwrap(), MANY);
}

#[test]
fn a_pipe_is_written_by_an_os_thread_too() {
    const EACH: usize = 1 << 20;
    let (mut reader, writer) = io::pipe().unwrap();
    let mut theirs = writer.try_clone().unwrap();
    let os_thread = thread::spawn(move || theirs.write_all(&vec![1; EACH]).unwrap());
    let mut writer = writer;
    let all = greenlets(move || {
        let task = greenlet::spawn(move || writer.write_all(&vec![2; EACH]).unwrap());
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        task.join().unwrap();
        all.len()
    });
    os_thread.join().unwrap();
    assert_eq!(all, 2 * EACH);
}

#[test]
fn the_number_of_a_closed_descriptor_is_used_again() {
    succeeds_apart("tests::descriptors::a_child_is_waited_for_by_a_used_number");
}

#[test]
#[ignore = "is run by the one above, in a process of its own"]
fn a_child_is_waited_for_by_a_used_number() {
    let ended = greenlets(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let input = cat.stdin.take().unwrap();
        near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!({ &near }.read(&mut [0]).is_err());
        // The clone is the same socket; the number of the first one is free again.
        let _clone = near.try_clone().unwrap();
        drop(near);
        let waits = greenlet::spawn(move || cat.wait().unwrap().success());
        thread::yield_now();
        far.write_all(b"!").unwrap();
        thread::sleep(Duration::from_millis(1));
        drop(input);
        waits.join().unwrap()
    });
    assert!(ended);
}

#[test]
fn a_unix_listener_that_is_full_is_waited_for() {
    const MANY: usize = 10;
    let name = format!("gevent-style-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    #[expect(unsafe_code, reason = "listen")]
    // SAFETY: takes no pointer; a listener may be told again.
    let listens = unsafe { libc::listen(listener.as_raw_fd(), 1) };
    assert_eq!(listens, 0);
    is_patched(
        move || {
            let connect = |_| UnixStream::connect_addr(&address).unwrap();
            assert_eq!((0..MANY).map(connect).collect::<Vec<_>>().len(), MANY);
        },
        move || (0..MANY).for_each(|_| drop(listener.accept().unwrap())),
    );
}

#[test]
#[expect(unsafe_code, reason = "poll")]
fn polling_nothing_is_a_sleep() {
    let ready = greenlets(|| {
        // SAFETY: an array of no entries.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 2) }
    });
    assert_eq!(ready, 0);
}

#[test]
#[expect(unsafe_code, reason = "calls of C")]
fn calls_without_buffers_do_what_libc_does() {
    let (results, left) = greenlets(|| {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (fd, nothing) = (near.as_raw_fd(), std::ptr::null_mut());
        near.send_to(b"kept", near.local_addr().unwrap()).unwrap();
        // SAFETY: none of them touches a byte.
        let results = unsafe {
            [
                libc::read(fd, nothing, 0),
                libc::readv(fd, nothing.cast(), 0),
                libc::readv(fd, nothing.cast(), -1),
                libc::accept(-1, std::ptr::null_mut(), std::ptr::null_mut()) as isize,
                libc::nanosleep(std::ptr::null(), std::ptr::null_mut()) as isize,
            ]
        };
        let mut buf = [0; 8];
        let (n, _) = near.recv_from(&mut buf).unwrap();
        (results, buf[..n].to_vec())
    });
    assert_eq!(results, [0, 0, -1, -1, -1]);
    assert_eq!(left, b"kept");
}

#[test]
fn a_unix_socket_that_has_no_room_for_a_datagram_is_waited_for() {
    const MANY: usize = 500;
    let name = format!("gevent-style-datagrams-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let near = UnixDatagram::bind_addr(&address).unwrap();
    let far = UnixDatagram::unbound().unwrap();
    is_patched(
        move || {
            for _ in 0..MANY {
                assert_eq!(far.send_to_addr(b"hi", &address).unwrap(), 2);
            }
        },
        move || (0..MANY).for_each(|_| assert_eq!(near.recv(&mut [0; 8]).unwrap(), 2)),
    );
}
