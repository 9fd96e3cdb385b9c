//! Monkey patching: our definitions of a few libc symbols win at link time over libc's own, so
//! std, every crate and every C library in this program calls them. They do what libc does until
//! `patch_all()` was called, and always in a plain OS thread; in a greenlet, what would block
//! parks it in the hub.
//!
//! The hooks keep no table of descriptors. Sockets stay blocking; each attempt says "do not
//! block", and timeouts are read back from the socket, where std's `set_read_timeout` put them.
//! A hook never panics and sets `errno` last. Linux with glibc only.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use libc::{
    addrinfo, clockid_t, iovec, msghdr, nfds_t, pid_t, pollfd, pthread_t, size_t, sockaddr,
    socklen_t, ssize_t, timespec,
};

use crate::gevent::futex;
use crate::gevent::hub::{self, OnKill, READABLE, WRITABLE, Wait, Waiter, Wake};

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("gevent-style replaces symbols of glibc: it needs Linux with glibc");

static PATCHED: AtomicBool = AtomicBool::new(false);

/// `gevent.monkey.patch_all()`: from here on a blocking call in a greenlet parks that greenlet
/// only. In effect for the whole program; an OS thread is not affected.
pub fn patch_all() {
    hub::start();
    futex::patch();
    PATCHED.store(true, Ordering::Release);
}

fn cooperative() -> bool {
    PATCHED.load(Ordering::Relaxed) && hub::in_greenlet()
}

/// Finds the symbol of this name that ours has hidden, once.
#[expect(unsafe_code, reason = "dlsym")]
pub fn hidden(name: &CStr, cache: &AtomicPtr<c_void>) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: `name` ends with NUL; the result is only compared and stored here.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        // No glibc: nothing in this process could read or write, not even to say so.
        std::process::abort();
    }
    cache.store(found, Ordering::Relaxed);
    found
}

/// libc's own function under the name of a hook.
macro_rules! libc_own {
    ($name:ident($($argument:ty),*) -> $result:ty) => {{
        static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => unreachable!(),
        };
        // SAFETY: the symbol of this name in libc has this signature.
        unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(
                hidden(NAME, &CACHE),
            )
        }
    }};
}

/// libc's read, whoever calls: for the hub itself.
#[expect(unsafe_code, reason = "read")]
pub fn read_for_real(fd: &OwnedFd, buf: &mut [u8]) {
    let real = libc_own!(read(c_int, *mut c_void, size_t) -> ssize_t);
    // SAFETY: `buf` is writable for its length.
    unsafe { real(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
}

/// libc's write, whoever calls: for the hub itself.
#[expect(unsafe_code, reason = "write")]
pub fn write_for_real(fd: &OwnedFd, buf: &[u8]) {
    let real = libc_own!(write(c_int, *const c_void, size_t) -> ssize_t);
    // SAFETY: `buf` is readable for its length.
    unsafe { real(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
}

#[expect(unsafe_code, reason = "errno")]
fn errno() -> c_int {
    // SAFETY: always points to the errno of the calling thread.
    unsafe { *libc::__errno_location() }
}

#[expect(unsafe_code, reason = "errno")]
pub fn set_errno(errno: c_int) {
    // SAFETY: always points to the errno of the calling thread.
    unsafe { *libc::__errno_location() = errno };
}

fn fail(errno: c_int) -> c_int {
    set_errno(errno);
    -1
}

/// The span that a caller of libc has given; none when libc would refuse it.
pub fn duration(span: timespec) -> Option<Duration> {
    let nanos = u32::try_from(span.tv_nsec).ok()?;
    let secs = u64::try_from(span.tv_sec).ok()?;
    (nanos < 1_000_000_000).then(|| Duration::new(secs, nanos))
}

/// What is left until the time `until` of a clock.
#[expect(unsafe_code, reason = "clock_gettime")]
pub fn left_until(clock: clockid_t, until: Duration) -> Duration {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    until.saturating_sub(duration(now).unwrap_or_default())
}

/// Did the program itself ask for a descriptor that never blocks? Then EAGAIN is its answer.
#[expect(unsafe_code, reason = "fcntl")]
fn nonblocking(fd: RawFd) -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

#[expect(unsafe_code, reason = "ioctl")]
fn set_nonblocking(fd: RawFd, nonblocking: bool) {
    let mut on = c_int::from(nonblocking);
    // SAFETY: FIONBIO reads one int.
    unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut on) };
}

#[expect(unsafe_code, reason = "fcntl")]
fn is_pipe(fd: RawFd) -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) > 0 }
}

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` as a deadline for the call that starts now.
#[expect(unsafe_code, reason = "getsockopt")]
fn deadline(fd: RawFd, option: c_int) -> Option<Instant> {
    let mut span = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of_val(&span) as socklen_t;
    // SAFETY: `span` is writable for `len` bytes.
    let result = unsafe {
        let span = (&raw mut span).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, option, span, &raw mut len)
    };
    let span = Duration::from_secs(span.tv_sec as u64) + Duration::from_micros(span.tv_usec as u64);
    if result != 0 || span.is_zero() {
        return None;
    }
    Instant::now().checked_add(span)
}

#[expect(unsafe_code, reason = "getsockopt")]
fn socket_error(fd: RawFd) -> c_int {
    let mut error: c_int = 0;
    let mut len = size_of_val(&error) as socklen_t;
    // SAFETY: `error` is writable for `len` bytes.
    unsafe {
        let error = (&raw mut error).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, error, &raw mut len);
    }
    error
}

/// Which way data goes through a descriptor: what to wait for, and where its timeout is kept.
#[derive(Clone, Copy)]
struct Direction {
    mask: u32,
    timeout: c_int,
}

const IN: Direction = Direction { mask: READABLE, timeout: libc::SO_RCVTIMEO };
const OUT: Direction = Direction { mask: WRITABLE, timeout: libc::SO_SNDTIMEO };

/// Parks until one of them is ready; `Err` is the errno to report instead.
fn park(on: &[(RawFd, u32)], until: Option<Instant>, timed_out: c_int) -> Result<(), c_int> {
    let wait = Wait { on, until, on_kill: OnKill::Report };
    match wait.park(&Waiter::new()) {
        Ok(Wake::Ready) => Ok(()),
        Ok(Wake::TimedOut) => Err(timed_out),
        Ok(Wake::OutOfTime) => Err(libc::ETIMEDOUT),
        Ok(Wake::Killed) => Err(libc::ECANCELED),
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// Tries a call that never blocks, and parks while the kernel says that it would.
fn cooperate(fd: RawFd, way: Direction, mut attempt: impl FnMut() -> ssize_t) -> ssize_t {
    let mut until = None;
    loop {
        let n = attempt();
        if n >= 0 || errno() != libc::EAGAIN {
            return n;
        }
        if nonblocking(fd) {
            return fail(libc::EAGAIN) as ssize_t;
        }
        let until = *until.get_or_insert_with(|| deadline(fd, way.timeout));
        // EAGAIN is what the kernel answers when a socket's own timeout is over.
        if let Err(errno) = park(&[(fd, way.mask)], until, libc::EAGAIN) {
            return fail(errno) as ssize_t;
        }
    }
}

/// Parks until a blocking call on this descriptor would not block; `Err` is the errno to report.
fn until_ready(fd: RawFd, way: Direction) -> Result<(), c_int> {
    if nonblocking(fd) {
        return Ok(());
    }
    let mut until = None;
    loop {
        if ready_now(fd, way.mask) {
            return Ok(());
        }
        let until = *until.get_or_insert_with(|| deadline(fd, way.timeout));
        match park(&[(fd, way.mask)], until, libc::EAGAIN) {
            // A regular file cannot be waited for: it never makes anybody wait.
            Err(libc::EPERM) => return Ok(()),
            result => result?,
        }
    }
}

#[expect(unsafe_code, reason = "poll")]
fn ready_now(fd: RawFd, mask: u32) -> bool {
    let real = libc_own!(poll(*mut pollfd, nfds_t, c_int) -> c_int);
    let mut asked = pollfd { fd, events: mask as i16, revents: 0 };
    // SAFETY: one entry, writable. An error counts as ready: the call itself will report it.
    unsafe { real(&raw mut asked, 1, 0) != 0 }
}

/// Calls on sockets have a flag that makes this one call not block.
macro_rules! hook_socket_calls {
    ($($name:ident($($argument:ident: $type:ty),*; flags $flags:ident $($more:ident: $more_type:ty),*), $way:ident;)*) => {$(
        #[unsafe(no_mangle)]
        #[expect(unsafe_code, reason = "the signature is libc's")]
        unsafe extern "C" fn $name(
            fd: c_int, $($argument: $type,)* $flags: c_int $(, $more: $more_type)*
        ) -> ssize_t {
            let real = libc_own!($name(c_int, $($type,)* c_int $(, $more_type)*) -> ssize_t);
            // SAFETY: the caller's arguments, which keep what libc asks of them.
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

/// Standard input, output and error stay as they are: std's lock on them belongs to the OS
/// thread, so a greenlet parked while it holds one would let the next one in.
fn is_standard(fd: RawFd) -> bool {
    (0..=2).contains(&fd)
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    let real = libc_own!(read(c_int, *mut c_void, size_t) -> ssize_t);
    if cooperative() && !is_standard(fd) {
        // SAFETY: the caller's buffer; `recv` asks the same of it as `read`.
        let n = unsafe { recv(fd, buf, len, 0) };
        if n >= 0 || errno() != libc::ENOTSOCK {
            return n;
        }
        if let Err(errno) = until_ready(fd, IN) {
            return fail(errno) as ssize_t;
        }
    }
    // SAFETY: the caller's arguments.
    unsafe { real(fd, buf, len) }
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    let real = libc_own!(write(c_int, *const c_void, size_t) -> ssize_t);
    let mut len = len;
    if cooperative() && !is_standard(fd) {
        // SAFETY: the caller's buffer; `send` asks the same of it as `write`.
        let n = unsafe { send(fd, buf, len, 0) };
        if n >= 0 || errno() != libc::ENOTSOCK {
            return n;
        }
        if let Err(errno) = until_ready(fd, OUT) {
            return fail(errno) as ssize_t;
        }
        len = len.min(writable_now(fd, len));
    }
    // SAFETY: the caller's buffer, at most as much of it as the caller said.
    unsafe { real(fd, buf, len) }
}

/// A pipe that is ready takes `PIPE_BUF` bytes; the rest of a longer write would block.
fn writable_now(fd: RawFd, len: usize) -> usize {
    if len > libc::PIPE_BUF && is_pipe(fd) && !nonblocking(fd) { libc::PIPE_BUF } else { len }
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = libc_own!(readv(c_int, *const iovec, c_int) -> ssize_t);
    if cooperative() && !is_standard(fd) {
        let mut message = message(parts, count);
        // SAFETY: the caller's parts; `recvmsg` asks the same of them as `readv`.
        let n = unsafe { recvmsg(fd, &raw mut message, 0) };
        if n >= 0 || errno() != libc::ENOTSOCK {
            return n;
        }
        if let Err(errno) = until_ready(fd, IN) {
            return fail(errno) as ssize_t;
        }
    }
    // SAFETY: the caller's arguments.
    unsafe { real(fd, parts, count) }
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = libc_own!(writev(c_int, *const iovec, c_int) -> ssize_t);
    if cooperative() && !is_standard(fd) {
        let message = message(parts, count);
        // SAFETY: the caller's parts; `sendmsg` asks the same of them as `writev`.
        let n = unsafe { sendmsg(fd, &raw const message, 0) };
        if n >= 0 || errno() != libc::ENOTSOCK {
            return n;
        }
        if is_pipe(fd) {
            // SAFETY: the caller's parts. One of them is a short write, which is allowed.
            let part = unsafe { first_part(parts, count) };
            // SAFETY: the caller's buffer, for the length the caller gave it.
            return unsafe { write(fd, part.iov_base, part.iov_len) };
        }
        if let Err(errno) = until_ready(fd, OUT) {
            return fail(errno) as ssize_t;
        }
    }
    // SAFETY: the caller's arguments.
    unsafe { real(fd, parts, count) }
}

#[expect(unsafe_code, reason = "msghdr has private padding on some systems")]
fn message(parts: *const iovec, count: c_int) -> msghdr {
    // SAFETY: all zero is a message without address, parts and ancillary data.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.cast_mut();
    message.msg_iovlen = usize::try_from(count).unwrap_or(0);
    message
}

/// The first part that is not empty, or the last one.
///
/// # Safety
///
/// `parts` points to `count` parts.
#[expect(unsafe_code, reason = "reads the caller's array")]
unsafe fn first_part(parts: *const iovec, count: c_int) -> iovec {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: what the caller of `writev` promises.
    let parts = unsafe { slice::from_raw_parts(parts, count) };
    let nothing = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    *parts.iter().find(|part| part.iov_len > 0).unwrap_or(&nothing)
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
    // The one call that has no flag of its own for "do not block".
    set_nonblocking(fd, true);
    let result = call();
    let reason = errno();
    set_nonblocking(fd, false);
    if result == 0 || reason != libc::EINPROGRESS {
        set_errno(reason);
        return result;
    }
    let until = deadline(fd, OUT.timeout);
    if let Err(errno) = park(&[(fd, OUT.mask)], until, libc::EINPROGRESS) {
        return fail(errno);
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
    if cooperative()
        && let Err(errno) = until_ready(fd, IN)
    {
        return fail(errno);
    }
    // SAFETY: the caller's arguments.
    unsafe { real(fd, address, len, flags) }
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
    let forever = timeout < 0;
    let until = (!forever).then(|| Instant::now() + Duration::from_millis(timeout as u64));
    loop {
        let ready = call(0);
        if ready != 0 || timeout == 0 {
            return ready;
        }
        // SAFETY: the caller's array; the kernel has just accepted it.
        let entries = unsafe { slice::from_raw_parts(entries, count as usize) };
        match park(&watched(entries), until, 0) {
            Ok(()) => {}
            Err(0) => return 0,
            Err(errno) => return fail(errno),
        }
    }
}

/// What to wait for in place of `poll`; its negative descriptors mean "not this one".
fn watched(entries: &[pollfd]) -> Vec<(RawFd, u32)> {
    let wanted = entries.iter().filter(|entry| entry.fd >= 0);
    wanted.map(|entry| (entry.fd, u32::from(entry.events as u16))).collect()
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    left: *mut timespec,
) -> c_int {
    let real =
        libc_own!(clock_nanosleep(clockid_t, c_int, *const timespec, *mut timespec) -> c_int);
    if cooperative()
        // SAFETY: the caller's pointer.
        && let Some(span) = duration(unsafe { *request })
    {
        let absolute = flags & libc::TIMER_ABSTIME != 0;
        let span = if absolute { left_until(clock, span) } else { span };
        hub::sleep(span, OnKill::EndEarly);
        return 0;
    }
    // SAFETY: the caller's arguments.
    unsafe { real(clock, flags, request, left) }
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn nanosleep(request: *const timespec, left: *mut timespec) -> c_int {
    let real = libc_own!(nanosleep(*const timespec, *mut timespec) -> c_int);
    if cooperative()
        // SAFETY: the caller's pointer.
        && let Some(span) = duration(unsafe { *request })
    {
        hub::sleep(span, OnKill::EndEarly);
        return 0;
    }
    // SAFETY: the caller's arguments.
    unsafe { real(request, left) }
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn sched_yield() -> c_int {
    if cooperative() {
        hub::yield_now();
        return 0;
    }
    let real = libc_own!(sched_yield() -> c_int);
    // SAFETY: no arguments.
    unsafe { real() }
}

/// A pointer that a helper thread may use while its owner is parked.
struct Lent<T>(T);

#[expect(unsafe_code, reason = "pointers of a caller who is parked")]
// SAFETY: the caller of libc waits for the answer; until then nobody else uses its arguments.
unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    fn get(self) -> T {
        self.0
    }
}

/// A name is looked up inside libc, by calls that no symbol of ours replaces: on a helper thread,
/// as gevent's resolver does.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
) -> c_int {
    let real = libc_own!(
        getaddrinfo(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int
    );
    let lent = Lent((node, service, hints, found));
    let call = move || {
        let (node, service, hints, found) = lent.get();
        // SAFETY: the caller's arguments.
        unsafe { real(node, service, hints, found) }
    };
    if cooperative() { hub::offload(call) } else { call() }
}

/// A child process is waited for through a descriptor that becomes readable when it ends.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    let real = libc_own!(waitpid(pid_t, *mut c_int, c_int) -> pid_t);
    if cooperative() && pid > 0 && options & libc::WNOHANG == 0 {
        // SAFETY: takes no pointer. (The call goes through our own `syscall`, which passes it on.)
        let process =
            unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(pid), 0 as c_long) };
        if process >= 0 {
            let ended = park(&[(process as c_int, READABLE)], None, 0);
            // SAFETY: ours, opened above.
            unsafe { libc::close(process as c_int) };
            if let Err(errno) = ended {
                return fail(errno);
            }
        }
    }
    // SAFETY: the caller's arguments.
    unsafe { real(pid, status, options) }
}

/// `JoinHandle::join` of an OS thread: the kernel has no descriptor for it.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int {
    let real = libc_own!(pthread_join(pthread_t, *mut *mut c_void) -> c_int);
    let lent = Lent((thread, result));
    let call = move || {
        let (thread, result) = lent.get();
        // SAFETY: the caller's arguments.
        unsafe { real(thread, result) }
    };
    if cooperative() { hub::offload_unbounded(call) } else { call() }
}
