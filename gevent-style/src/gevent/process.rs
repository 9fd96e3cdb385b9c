//! The hooks of time, names, child processes and OS threads.

use std::ffi::{c_char, c_int, c_long, c_void};

use libc::{addrinfo, clockid_t, pid_t, pthread_t, timespec};

use crate::gevent::cooperate::{cooperative, park};
use crate::gevent::helpers::{offload, offload_unbounded};
use crate::gevent::hub::{self, READABLE};
use crate::gevent::sys::{duration, errno, fail, left_until, libc_own, set_errno};
use crate::gevent::waiter::OnKill;

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
        // SAFETY: the caller's pointer, or null.
        && let Some(span) = unsafe { request.as_ref() }.and_then(|request| duration(*request))
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
        // SAFETY: the caller's pointer, or null.
        && let Some(span) = unsafe { request.as_ref() }.and_then(|request| duration(*request))
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
struct Lent<T>(*mut T);

#[expect(unsafe_code, reason = "pointers of a caller who is parked")]
// SAFETY: a pointer may be sent anywhere; using what it points to is unsafe in itself.
unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// libc looks up a name with calls that our symbols do not replace: so it runs on a helper thread,
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
    let (node, service) = (Lent(node.cast_mut()), Lent(service.cast_mut()));
    let (hints, found) = (Lent(hints.cast_mut()), Lent(found));
    // SAFETY: the caller's arguments. It waits for the answer, and uses none of them until then.
    let call = move || unsafe { real(node.get(), service.get(), hints.get(), found.get()) };
    if cooperative() { offload(call) } else { call() }
}

/// A child process is waited for through a descriptor that becomes readable when it ends. (A
/// stopped child does not make it readable: a call with `WUNTRACED` blocks as in libc.)
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    let real = libc_own!(waitpid(pid_t, *mut c_int, c_int) -> pid_t);
    // SAFETY: the caller's arguments.
    let call = |options| unsafe { real(pid, status, options) };
    if !cooperative() || pid <= 0 || options != 0 {
        return call(options);
    }
    let ended = call(libc::WNOHANG);
    if ended != 0 {
        return ended;
    }
    // SAFETY: takes no pointer. (The call goes through our own `syscall`, which passes it on.)
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(pid), 0 as c_long) };
    if process < 0 {
        return call(options);
    }
    let process = process as c_int;
    let ended = loop {
        match park(&[(process, READABLE)], None, 0) {
            Ok(()) => {}
            Err(errno) => break Err(errno),
        }
        let ended = call(libc::WNOHANG);
        if ended != 0 {
            break Ok((ended, errno()));
        }
    };
    // SAFETY: ours, opened above.
    unsafe { libc::close(process) };
    match ended {
        Ok((ended, errno)) => {
            set_errno(errno);
            ended
        }
        Err(errno) => fail(errno),
    }
}

/// `JoinHandle::join` of an OS thread: the kernel has no descriptor for it.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the signature is libc's")]
unsafe extern "C" fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int {
    let real = libc_own!(pthread_join(pthread_t, *mut *mut c_void) -> c_int);
    let result = Lent(result);
    // SAFETY: the caller's arguments. It waits for the answer, and uses none of them until then.
    let call = move || unsafe { real(thread, result.get()) };
    if cooperative() { offload_unbounded(call) } else { call() }
}
