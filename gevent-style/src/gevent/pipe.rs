//! The hooks of `read` and `write`, for sockets, pipes and everything else that can be polled.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use libc::{iovec, msghdr, off_t, size_t, ssize_t};

use crate::gevent::cooperate::{Direction, IN, OUT, cooperate, cooperative, until_ready};
use crate::gevent::socket::{recvmsg, sendmsg};
use crate::gevent::sys::{array, errno, fail, libc_own, nonblocking};

/// Standard input, output and error are not patched. std's lock on them belongs to the OS thread:
/// if a greenlet were parked with that lock, the next greenlet could take it too.
fn is_standard(fd: RawFd) -> bool {
    (0..=2).contains(&fd)
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    let real = libc_own!(read(c_int, *mut c_void, size_t) -> ssize_t);
    // SAFETY: the caller's arguments.
    let call = || unsafe { real(fd, buf, len) };
    read_with(fd, &[iovec { iov_base: buf, iov_len: len }], call)
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = libc_own!(readv(c_int, *const iovec, c_int) -> ssize_t);
    // SAFETY: the caller's arguments.
    let call = || unsafe { real(fd, parts, count) };
    // SAFETY: what the caller of `readv` promises.
    let parts = unsafe { array(parts, usize::try_from(count).unwrap_or(0)) };
    read_with(fd, parts, call)
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    let real = libc_own!(write(c_int, *const c_void, size_t) -> ssize_t);
    // SAFETY: the caller's buffer, or its beginning.
    let call = |len| unsafe { real(fd, buf, len) };
    write_with(fd, &[iovec { iov_base: buf.cast_mut(), iov_len: len }], || call(len), call)
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = libc_own!(writev(c_int, *const iovec, c_int) -> ssize_t);
    // SAFETY: the caller's arguments.
    let call = || unsafe { real(fd, parts, count) };
    // SAFETY: what the caller of `writev` promises.
    let parts = unsafe { array(parts, usize::try_from(count).unwrap_or(0)) };
    let first = parts.iter().find(|part| part.iov_len > 0);
    let write_first = |len| {
        let Some(first) = first else { return call() };
        let real = libc_own!(write(c_int, *const c_void, size_t) -> ssize_t);
        // SAFETY: the beginning of one of the caller's parts. A short write is allowed.
        unsafe { real(fd, first.iov_base, first.iov_len.min(len)) }
    };
    write_with(fd, parts, call, write_first)
}

/// Nothing to transfer: the kernel answers immediately.
fn is_empty(parts: &[iovec]) -> bool {
    parts.iter().all(|part| part.iov_len == 0)
}

fn read_with(fd: RawFd, parts: &[iovec], call: impl Fn() -> ssize_t) -> ssize_t {
    if !cooperative() || is_standard(fd) || is_empty(parts) {
        return call();
    }
    let mut message = message(parts);
    // SAFETY: the caller's parts; `recvmsg` requires the same of them as `readv`.
    #[expect(unsafe_code, reason = "recvmsg")]
    let n = unsafe { recvmsg(fd, &raw mut message, 0) };
    if n >= 0 || errno() != libc::ENOTSOCK {
        return n;
    }
    if kind(fd) == libc::S_IFREG {
        return call();
    }
    if let Some(n) = cooperate_at_once(fd, IN, parts) {
        return n;
    }
    match until_ready(fd, IN) {
        Ok(()) => call(),
        Err(errno) => fail(errno) as ssize_t,
    }
}

fn write_with(
    fd: RawFd,
    parts: &[iovec],
    call: impl Fn() -> ssize_t,
    write_first: impl Fn(size_t) -> ssize_t,
) -> ssize_t {
    if !cooperative() || is_standard(fd) || is_empty(parts) {
        return call();
    }
    let message = message(parts);
    // SAFETY: the caller's parts; `sendmsg` requires the same of them as `writev`.
    #[expect(unsafe_code, reason = "sendmsg")]
    let n = unsafe { sendmsg(fd, &raw const message, 0) };
    if n >= 0 || errno() != libc::ENOTSOCK {
        return n;
    }
    let kind = kind(fd);
    if kind == libc::S_IFREG {
        return call();
    }
    if let Some(n) = cooperate_at_once(fd, OUT, parts) {
        return n;
    }
    match until_ready(fd, OUT) {
        // A pipe that is ready takes PIPE_BUF bytes; the rest of a longer write would block.
        Ok(()) if kind == libc::S_IFIFO && !nonblocking(fd) => write_first(libc::PIPE_BUF),
        Ok(()) => call(),
        Err(errno) => fail(errno) as ssize_t,
    }
}

/// Reads or writes with `RWF_NOWAIT`, a flag for this one call, and parks while it would block.
/// `None` if the kernel does not support it: for pipes, Linux has it since 6.4; for terminals,
/// never.
fn cooperate_at_once(fd: RawFd, way: Direction, parts: &[iovec]) -> Option<ssize_t> {
    type Call = unsafe extern "C" fn(c_int, *const iovec, c_int, off_t, c_int) -> ssize_t;
    let call: Call = if way.mask == IN.mask { libc::preadv2 } else { libc::pwritev2 };
    let count = parts.len() as c_int;
    // SAFETY: the caller's parts. -1 stands for the current position, as in `read` and `write`.
    #[expect(unsafe_code, reason = "preadv2 and pwritev2")]
    let attempt = || unsafe { call(fd, parts.as_ptr(), count, -1, libc::RWF_NOWAIT) };
    let n = cooperate(fd, way, attempt);
    let reason = errno();
    let refused = [libc::EOPNOTSUPP, libc::ENOSYS, libc::EINVAL, libc::ESPIPE];
    (n >= 0 || !refused.contains(&reason)).then_some(n)
}

#[expect(unsafe_code, reason = "msghdr has private padding on some systems")]
fn message(parts: &[iovec]) -> msghdr {
    // SAFETY: all zero is a message without address, parts and ancillary data.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_ptr().cast_mut();
    message.msg_iovlen = parts.len() as _;
    message
}

/// The file type, one of the values of `S_IFMT`: regular file, pipe, and so on.
#[expect(unsafe_code, reason = "fstat")]
fn kind(fd: RawFd) -> libc::mode_t {
    // SAFETY: all zero is a `stat`, and it is writable.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::fstat(fd, &raw mut stat) };
    stat.st_mode & libc::S_IFMT
}
