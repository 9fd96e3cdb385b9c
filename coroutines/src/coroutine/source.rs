//! What a task can wait for.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::epoll::EpollFlags;

/// Something a task can wait for: [`readable`], [`writable`], an [`Event`], the end of a task.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    Fd(BorrowedFd<'a>, EpollFlags),
    Event(&'a Event),
}

/// Ready when a read would not block: data, its end, or an error. On a listener: `accept`.
pub fn readable(fd: &impl AsFd) -> Source<'_> {
    Source::Fd(fd.as_fd(), EpollFlags::EPOLLIN)
}

/// Ready when a write would not block.
pub fn writable(fd: &impl AsFd) -> Source<'_> {
    Source::Fd(fd.as_fd(), EpollFlags::EPOLLOUT)
}

/// Once it is set, all tasks that wait for it go on. (`gevent.event.Event`; its methods are in
/// `sync.rs`)
#[derive(Default)]
pub struct Event {
    pub(super) set: Cell<bool>,
}

/// A source by its number or its address. It is borrowed while a task waits for it, so neither can
/// be used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Fd(RawFd),
    Event(usize),
}

impl Event {
    pub(super) fn key(&self) -> Key {
        Key::Event(std::ptr::from_ref(self).addr())
    }
}

impl Source<'_> {
    pub(super) fn is_set(&self) -> bool {
        matches!(self, Source::Event(event) if event.set.get())
    }

    pub(super) fn key(&self) -> Key {
        match self {
            Source::Fd(fd, _) => Key::Fd(fd.as_raw_fd()),
            Source::Event(event) => event.key(),
        }
    }
}
