//! Plain libc, below everything else: its own functions under the names of our hooks, `errno`, and
//! the small calls that never block. Nothing here depends on greenlets.

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use libc::{clockid_t, nfds_t, pollfd, socklen_t, timespec};

/// Finds libc's symbol of this name, which ours hides. Looks it up once.
#[expect(unsafe_code, reason = "dlsym")]
pub fn hidden(name: &CStr, cache: &AtomicPtr<c_void>) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: `name` ends with NUL; the result is only compared and stored here.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        // No glibc: this process could not even print an error.
        std::process::abort();
    }
    cache.store(found, Ordering::Relaxed);
    found
}

/// libc's own function under the name of a hook.
macro_rules! libc_own {
    ($name:ident($($argument:ty),*) -> $result:ty) => {{
        use std::ffi::{CStr, c_void};
        use std::sync::atomic::AtomicPtr;
        static CACHE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        const NAME: &CStr =
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => unreachable!(),
            };
        // SAFETY: the symbol of this name in libc has this signature.
        unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(
                $crate::gevent::sys::hidden(NAME, &CACHE),
            )
        }
    }};
}
pub(crate) use libc_own;

#[expect(unsafe_code, reason = "errno")]
pub fn errno() -> c_int {
    // SAFETY: always points to the errno of the calling thread.
    unsafe { *libc::__errno_location() }
}

#[expect(unsafe_code, reason = "errno")]
pub fn set_errno(errno: c_int) {
    // SAFETY: always points to the errno of the calling thread.
    unsafe { *libc::__errno_location() = errno };
}

/// The return value of a hook that fails.
pub fn fail(errno: c_int) -> c_int {
    set_errno(errno);
    -1
}

/// The duration that a caller of libc passed; `None` if libc would refuse it.
pub fn duration(span: timespec) -> Option<Duration> {
    let nanos = u32::try_from(span.tv_nsec).ok()?;
    let secs = u64::try_from(span.tv_sec).ok()?;
    (nanos < 1_000_000_000).then(|| Duration::new(secs, nanos))
}

/// The time that is left until `until` on a clock.
#[expect(unsafe_code, reason = "clock_gettime")]
pub fn left_until(clock: clockid_t, until: Duration) -> Duration {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    until.saturating_sub(duration(now).unwrap_or_default())
}

/// An array of a caller of libc. It may be null if it is empty.
///
/// # Safety
///
/// `array` points to `count` values that do not change meanwhile, or `count` is 0.
#[expect(unsafe_code, reason = "an array from C")]
pub unsafe fn array<'a, T>(array: *const T, count: usize) -> &'a [T] {
    if count == 0 || array.is_null() {
        return &[];
    }
    // SAFETY: what the caller promises.
    unsafe { slice::from_raw_parts(array, count) }
}

/// Whether the program itself made the descriptor nonblocking. Then EAGAIN is its answer.
#[expect(unsafe_code, reason = "fcntl")]
pub fn nonblocking(fd: RawFd) -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

#[expect(unsafe_code, reason = "ioctl")]
pub fn set_nonblocking(fd: RawFd, nonblocking: bool) {
    let mut on = c_int::from(nonblocking);
    // SAFETY: FIONBIO reads one int.
    unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut on) };
}

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` as a deadline for the call that starts now.
pub fn deadline(fd: RawFd, option: c_int) -> Option<Instant> {
    let mut span = libc::timeval { tv_sec: 0, tv_usec: 0 };
    if !socket_option(fd, option, &mut span) {
        return None;
    }
    let span = Duration::from_secs(span.tv_sec as u64) + Duration::from_micros(span.tv_usec as u64);
    if span.is_zero() { None } else { Instant::now().checked_add(span) }
}

/// How an attempt to connect ended.
pub fn socket_error(fd: RawFd) -> c_int {
    let mut error: c_int = 0;
    socket_option(fd, libc::SO_ERROR, &mut error);
    error
}

#[expect(unsafe_code, reason = "getsockopt")]
fn socket_option<T: Copy>(fd: RawFd, option: c_int, value: &mut T) -> bool {
    let mut len = size_of::<T>() as socklen_t;
    let value = ptr::from_mut(value).cast();
    // SAFETY: `value` is writable for `len` bytes.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, value, &raw mut len) == 0 }
}

/// libc's own `poll`, for any caller: whether one of them is ready within so many milliseconds. An
/// error counts as ready: the next call reports it.
#[expect(unsafe_code, reason = "poll")]
pub fn poll_for_real(on: &[(RawFd, u32)], milliseconds: c_int) -> bool {
    let real = libc_own!(poll(*mut pollfd, nfds_t, c_int) -> c_int);
    let entry = |&(fd, mask): &(RawFd, u32)| pollfd { fd, events: mask as i16, revents: 0 };
    let mut asked: Vec<pollfd> = on.iter().map(entry).collect();
    // SAFETY: `asked` is writable for its length.
    unsafe { real(asked.as_mut_ptr(), asked.len() as nfds_t, milliseconds) != 0 }
}
