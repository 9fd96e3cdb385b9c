//! Asks the kernel which descriptors are ready. (`select.epoll`)

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// How many events are taken from the kernel at once.
const EVENTS: usize = 1024;

pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    /// By descriptor: the kernel has been told of it. If that descriptor was closed and its number
    /// used again, the kernel no longer knows it.
    known: Vec<bool>,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, events: vec![EpollEvent::empty(); EVENTS], known: Vec::new() })
    }

    /// Asks for one event of this descriptor. The kernel forgets closed descriptors by itself.
    pub fn arm(&mut self, fd: BorrowedFd<'_>, flags: EpollFlags) -> io::Result<()> {
        let data = fd.as_raw_fd() as u64;
        let mut event = EpollEvent::new(flags | EpollFlags::EPOLLONESHOT, data);
        // A descriptor that was added before is most likely still known: one call is usually
        // enough.
        let known = self.known(fd.as_raw_fd());
        let result = if *known {
            match self.epoll.modify(fd, &mut event) {
                Err(Errno::ENOENT) => self.epoll.add(fd, event),
                result => result,
            }
        } else {
            match self.epoll.add(fd, event) {
                Err(Errno::EEXIST) => self.epoll.modify(fd, &mut event),
                result => result,
            }
        };
        *self.known(fd.as_raw_fd()) = result.is_ok();
        Ok(result?)
    }

    /// An event that no task waits for must not be taken for that of a later socket.
    pub fn disarm(&mut self, fd: BorrowedFd<'_>) {
        let _ = self.epoll.delete(fd);
        self.is_new(fd);
    }

    /// The kernel has not been told of this descriptor: it is new.
    pub fn is_new(&mut self, fd: BorrowedFd<'_>) {
        *self.known(fd.as_raw_fd()) = false;
    }

    fn known(&mut self, fd: RawFd) -> &mut bool {
        let index = usize::try_from(fd).expect("an open descriptor");
        if index >= self.known.len() {
            self.known.resize(index + 1, false);
        }
        &mut self.known[index]
    }

    /// Waits for events, for `left` or forever if `None`, and passes on what became ready.
    pub fn poll(&mut self, left: Option<Duration>, mut ready: impl FnMut(RawFd, EpollFlags)) {
        let n = match self.epoll.wait(&mut self.events, left.map_or(EpollTimeout::NONE, timeout)) {
            Ok(n) => n,
            Err(Errno::EINTR) => 0,
            Err(error) => unreachable!("epoll_wait on a descriptor of our own: {error}"),
        };
        for event in &self.events[..n] {
            // A broken connection is reported to all tasks that wait: their next call returns the
            // error.
            let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
            let got = match event.events() {
                got if got.intersects(broken) => EpollFlags::all(),
                got => got,
            };
            ready(event.data() as RawFd, got);
        }
    }
}

/// Rounded up, so that the deadline has passed when the kernel returns.
fn timeout(time: Duration) -> EpollTimeout {
    let ms = i32::try_from(time.as_nanos().div_ceil(1_000_000));
    ms.map_or(EpollTimeout::MAX, |ms| EpollTimeout::try_from(ms).expect("not negative"))
}
