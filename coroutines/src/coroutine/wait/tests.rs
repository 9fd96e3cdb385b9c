//! What wait.rs promises, one test per promise.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::rc::Rc;

use super::*;
use crate::coroutine::scheduler::{run, spawn, yield_now};
use crate::coroutine::sync::Event;
use crate::coroutine::testing::{late, pair, soon};

#[test]
fn a_wait_ends_when_the_source_is_ready() {
    run(|| {
        let (mut here, mut there) = pair();
        let reader = spawn(move || {
            wait(readable(&here), late())?;
            let mut buf = [0; 8];
            let n = here.read(&mut buf)?;
            io::Result::Ok(buf[..n].to_vec())
        });
        yield_now();
        assert!(!reader.is_finished());
        there.write_all(b"hello").expect("room in the buffer");
        let read = reader.join().expect("no panic").expect("no error");
        assert_eq!(read, b"hello");
    });
}

#[test]
fn a_wait_ends_at_its_deadline_and_the_descriptor_can_be_waited_for_again() {
    run(|| {
        let (here, mut there) = pair();
        for _ in 0..3 {
            let error = wait(readable(&here), soon()).expect_err("nothing was sent");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        there.write_all(b"x").expect("room in the buffer");
        wait(readable(&here), late()).expect("something was sent");
    });
}

#[test]
fn a_source_that_is_ready_after_the_deadline_counts_as_ready() {
    run(|| {
        let (here, _there) = pair();
        wait(writable(&here), Instant::now()).expect("there is room");
    });
}

#[test]
fn waiting_for_several_sources_says_which() {
    run(|| {
        let (a, mut to_a) = pair();
        let (b, mut to_b) = pair();
        let event = Rc::new(Event::new());
        let either =
            |deadline| wait_any(&[readable(&a), readable(&b), Source::Event(&event)], deadline);
        to_b.write_all(b"x").expect("room in the buffer");
        assert_eq!(either(late()).expect("b"), 1);
        to_a.write_all(b"x").expect("room in the buffer");
        (&b).read_exact(&mut [0]).expect("it was sent");
        assert_eq!(either(late()).expect("a"), 0);
        (&a).read_exact(&mut [0]).expect("it was sent");
        assert_eq!(either(soon()).expect_err("none").kind(), io::ErrorKind::TimedOut);
        let setter = event.clone();
        spawn(move || setter.set());
        assert_eq!(either(late()).expect("the event"), 2);
    });
}

#[test]
fn a_reader_and_a_writer_wait_for_one_socket() {
    run(|| {
        let (here, there) = pair();
        while (&here).write(&[0; 4096]).is_ok() {}
        let here = Rc::new(here);
        let (for_reader, for_writer) = (here.clone(), here);
        let reader = spawn(move || wait(readable(&*for_reader), late()).is_ok());
        let writer = spawn(move || wait(writable(&*for_writer), late()).is_ok());
        yield_now();
        while (&there).read(&mut [0; 4096]).is_ok() {}
        assert!(writer.join().expect("no panic"));
        assert!(!reader.is_finished());
        (&there).write_all(b"x").expect("room in the buffer");
        assert!(reader.join().expect("no panic"));
    });
}

#[test]
fn many_wait_for_one_descriptor_and_all_wake_at_its_end() {
    run(|| {
        let (stop, stopper) = pair();
        let stop = Rc::new(stop);
        let mut tasks = Vec::new();
        for _ in 0..1000 {
            let stop = stop.clone();
            tasks.push(spawn(move || wait(readable(&*stop), late())));
        }
        yield_now();
        drop(stopper);
        for task in tasks {
            task.join().expect("no panic").expect("woken");
        }
    });
}

#[test]
fn a_descriptor_that_is_closed_and_reused_is_another_descriptor() {
    run(|| {
        for _ in 0..50 {
            let (here, mut there) = pair();
            let copy = here.try_clone().expect("a descriptor");
            wait(readable(&here), Instant::now()).expect_err("nothing was sent");
            drop(here);
            let (new, _other) = pair();
            there.write_all(b"x").expect("room in the buffer");
            wait(readable(&new), Instant::now()).expect_err("sent to the old one");
            wait(readable(&copy), late()).expect("sent to this one");
        }
    });
}

#[test]
fn a_file_cannot_be_waited_for() {
    run(|| {
        let file = std::fs::File::open("/proc/self/exe").expect("we run");
        let error = wait(readable(&file), late()).expect_err("epoll takes no files");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn connect_reaches_a_listener() {
    run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let server = spawn(move || {
            wait(readable(&listener), late())?;
            listener.accept()?.0.write_all(b"hi")
        });
        let mut socket = connect(address, late()).expect("it listens");
        wait(readable(&socket), late()).expect("an answer");
        let mut buf = [0; 2];
        socket.read_exact(&mut buf).expect("an answer");
        assert_eq!(&buf, b"hi");
        server.join().expect("no panic").expect("no error");
    });
}

#[test]
fn connect_to_a_port_without_a_listener_is_refused() {
    let address = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.local_addr().expect("bound")
    };
    let error = run(|| connect(address, late())).expect_err("no socket listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn sockets_are_served_while_others_only_take_turns() {
    run(|| {
        let (here, mut there) = pair();
        let stop = Rc::new(Event::new());
        let seen = stop.clone();
        let spinner = spawn(move || {
            while !seen.is_set() {
                yield_now();
            }
        });
        let reader = spawn(move || wait(readable(&here), late()));
        yield_now();
        there.write_all(b"x").expect("room in the buffer");
        reader.join().expect("no panic").expect("served");
        stop.set();
        spinner.join().expect("no panic");
    });
}

#[test]
fn connect_to_one_that_does_not_answer_ends_at_its_deadline() {
    run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        // It never accepts, and its queue is soon full.
        socket::listen(&listener, socket::Backlog::new(0).expect("small")).expect("it listens");
        let address = listener.local_addr().expect("bound");
        let mut open = Vec::new();
        let error = loop {
            match connect(address, soon()) {
                Ok(socket) => open.push(socket),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_descriptor_can_be_waited_for_again_also_if_it_was_closed_meanwhile() {
    run(|| {
        for _ in 0..3 {
            let (here, mut there) = pair();
            for _ in 0..3 {
                there.write_all(b"x").expect("room in the buffer");
                wait(readable(&here), late()).expect("it was sent");
                (&here).read_exact(&mut [0]).expect("it was sent");
            }
        }
    });
}
