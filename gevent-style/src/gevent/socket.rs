//! The hooks of sockets, and `poll`. Sockets stay blocking: each call is tried with a flag that
//! says "do not block". Timeouts are read from the socket, where std's `set_read_timeout` set them.
//! There is no table of descriptors.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libc::{msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t};

use crate::gevent::cooperate::{
    Direction, IN, OUT, cooperate, cooperative, is_patched, park, pause, told_to_end,
};
use crate::gevent::sys::{
    array, deadline, errno, fail, libc_own, nonblocking, poll_for_real, set_errno, set_nonblocking,
    socket_error,
};
use crate::gevent::waiter::{lock, uncooperative};

/// For calls on sockets with a flag that makes only this call nonblocking.
macro_rules! hook_socket_calls {
    ($($name:ident($($argument:ident: $type:ty),*; flags $flags:ident $($more:ident: $more_type:ty),*), $way:ident;)*) => {$(
        #[unsafe(no_mangle)]
        #[expect(unsafe_code, reason = "the signature is libc's")]
        pub(super) unsafe extern "C" fn $name(
            fd: c_int, $($argument: $type,)* $flags: c_int $(, $more: $more_type)*
        ) -> ssize_t {
            let real = libc_own!($name(c_int, $($type,)* c_int $(, $more_type)*) -> ssize_t);
            // SAFETY: the caller's arguments, which meet the requirements of libc.
            let call = |flags| unsafe { real(fd, $($argument,)* flags $(, $more)*) };
            if !cooperative() || $flags & libc::MSG_DONTWAIT != 0 {
                return call($flags);
            }
            cooperate(fd, $way, || call($flags | libc::MSG_DONTWAIT))
        }
    )*};
}

hook_socket_calls! {
    recv(buf: *mut c_void, len: size_t; flags flags), IN;
    send(buf: *const c_void, len: size_t; flags flags), OUT;
    recvfrom(buf: *mut c_void, len: size_t; flags flags from: *mut sockaddr, from_len: *mut socklen_t), IN;
    sendto(buf: *const c_void, len: size_t; flags flags to: *const sockaddr, to_len: socklen_t), OUT;
    recvmsg(message: *mut msghdr; flags flags), IN;
    sendmsg(message: *const msghdr; flags flags), OUT;
}

/// Held while a socket is nonblocking for a moment: other threads may share it.
static FLIPPING: Mutex<()> = Mutex::new(());

/// Makes a call that has no such flag nonblocking. Returns its errno too.
fn without_blocking(fd: RawFd, call: impl FnOnce() -> c_int) -> (c_int, c_int) {
    uncooperative(|| {
        let _flipping = lock(&FLIPPING);
        set_nonblocking(fd, true);
        let result = call();
        let reason = errno();
        set_nonblocking(fd, false);
        (result, reason)
    })
}

/// In an OS thread: whether a call was refused only because a greenlet has just made the socket
/// nonblocking, for the time of its own call.
fn refused_meanwhile(fd: RawFd, way: Direction) -> bool {
    let reason = errno();
    let meanwhile = reason == libc::EAGAIN && is_patched() && {
        let _flipping = lock(&FLIPPING);
        !nonblocking(fd) && deadline(fd, way.timeout).is_none()
    };
    set_errno(reason);
    meanwhile
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    let real = libc_own!(connect(c_int, *const sockaddr, socklen_t) -> c_int);
    // SAFETY: the caller's arguments.
    let call = || unsafe { real(fd, address, len) };
    if !cooperative() || nonblocking(fd) {
        return call();
    }
    // A greenlet that has to end does not try the next address.
    if let Err(errno) = told_to_end() {
        return fail(errno);
    }
    let until = deadline(fd, OUT.timeout);
    loop {
        match without_blocking(fd, call) {
            // A Unix socket with a full listener: it connects immediately or not at all.
            (-1, libc::EAGAIN) => {
                if let Err(errno) = pause(until) {
                    return fail(errno);
                }
            }
            (-1, libc::EINPROGRESS | libc::EALREADY) => break,
            (result, reason) => {
                set_errno(reason);
                return result;
            }
        }
    }
    while !poll_for_real(&[(fd, OUT.mask)], 0) {
        if let Err(errno) = park(&[(fd, OUT.mask)], until, libc::EINPROGRESS) {
            return fail(errno);
        }
    }
    match socket_error(fd) {
        0 => 0,
        error => fail(error),
    }
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let real = libc_own!(accept4(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int);
    // SAFETY: the caller's arguments.
    let call = || unsafe { real(fd, address, len, flags) };
    accept_with(fd, call)
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    let real = libc_own!(accept(c_int, *mut sockaddr, *mut socklen_t) -> c_int);
    // SAFETY: the caller's arguments.
    let call = || unsafe { real(fd, address, len) };
    accept_with(fd, call)
}

fn accept_with(fd: c_int, call: impl Fn() -> c_int) -> c_int {
    if !cooperative() {
        loop {
            let socket = call();
            if socket >= 0 || !refused_meanwhile(fd, IN) {
                return socket;
            }
        }
    }
    if nonblocking(fd) {
        return call();
    }
    if let Err(errno) = told_to_end() {
        return fail(errno);
    }
    let mut until = None;
    loop {
        // Another thread or process may take the connection that made the listener ready.
        let (socket, reason) = without_blocking(fd, &call);
        if socket >= 0 || reason != libc::EAGAIN {
            set_errno(reason);
            return socket;
        }
        let until = *until.get_or_insert_with(|| deadline(fd, IN.timeout));
        if let Err(errno) = park(&[(fd, IN.mask)], until, libc::EAGAIN) {
            return fail(errno);
        }
    }
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    let real = libc_own!(poll(*mut pollfd, nfds_t, c_int) -> c_int);
    // SAFETY: the caller's arguments.
    let call = |timeout| unsafe { real(entries, count, timeout) };
    if !cooperative() {
        return call(timeout);
    }
    let span = u64::try_from(timeout).ok().map(Duration::from_millis);
    let until = span.map(|span| Instant::now() + span);
    loop {
        let ready = call(0);
        if ready != 0 || timeout == 0 {
            return ready;
        }
        // SAFETY: the caller's array; the kernel has just accepted it.
        let entries = unsafe { array(entries, count as usize) };
        match park(&watched(entries), until, 0) {
            Ok(()) => {}
            Err(0) => return 0,
            Err(errno) => return fail(errno),
        }
    }
}

/// What to wait for instead of `poll`; negative descriptors are skipped.
fn watched(entries: &[pollfd]) -> Vec<(RawFd, u32)> {
    let wanted = entries.iter().filter(|entry| entry.fd >= 0);
    wanted.map(|entry| (entry.fd, u32::from(entry.events as u16))).collect()
}
