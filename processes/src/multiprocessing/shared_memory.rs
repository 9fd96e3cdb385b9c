//! Memory that processes share on request, and a lock that survives its holder.
//!
//! After a fork nothing is shared: each process writes to its own copy. [`Shared`] is the exception
//! (`multiprocessing.RawArray`), and has the problems of threads again. [`SharedLock`] is the
//! remedy (`multiprocessing.Lock`), and does better than Python's: if a process dies in the
//! critical section, the next one gets the lock and is told so.
//! critical section, the next one gets the lock and is told.

use std::cell::Cell;
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::child::limit;

/// Atomics in memory that this process shares with all processes it forks from now on.
///
/// Only atomics may be in it: without a lock, processes can share only single words. An address on
/// the heap of one process means nothing to the others.
#[derive(Debug)]
pub struct Shared<T: Atomic> {
    mapping: Mapping<T>,
}

impl<T: Atomic> Shared<T> {
    /// # Errors
    /// No memory left, with the limit in the message.
    pub fn new(values: impl IntoIterator<Item = T>) -> io::Result<Self> {
        let mut all = Vec::new();
        for value in values {
            // If there is no memory left, a Vec that grows by itself would end the program.
            all.try_reserve(1).map_err(|_| no_memory(Errno::ENOMEM))?;
            all.push(value);
        }
        let mapping = Mapping::new(all)?;
        Ok(Self { mapping })
    }
}

impl<T: Atomic> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.mapping.values()
    }
}

/// What may be shared: a word that is read and written as one.
pub trait Atomic: word::Word {}

impl<T: word::Word> Atomic for T {}

mod word {
    use super::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};

    pub trait Word {}

    impl Word for AtomicBool {}
    impl Word for AtomicI64 {}
    impl Word for AtomicU32 {}
    impl Word for AtomicU64 {}
    impl Word for AtomicUsize {}
}

/// A lock between processes: made before the fork, held by one process at a time.
///
/// A lock of std works only between the threads of one process. This is a mutex of the C library in
/// shared memory, `PTHREAD_PROCESS_SHARED` and `PTHREAD_MUTEX_ROBUST` (`man 3
/// pthread_mutexattr_setrobust`).
#[derive(Debug)]
pub struct SharedLock {
    mutex: Mapping<Mutex>,
    /// Whether this process holds it, as far as it knows.
    held: Cell<bool>,
}

#[derive(Debug)]
#[repr(transparent)]
struct Mutex(std::cell::UnsafeCell<libc::pthread_mutex_t>);

impl SharedLock {
    /// # Errors
    /// No memory left.
    pub fn new() -> io::Result<Self> {
        let mutex = Mutex(libc::PTHREAD_MUTEX_INITIALIZER.into());
        let lock = Self { mutex: Mapping::new(vec![mutex])?, held: Cell::new(false) };
        make_shared_and_robust(lock.mutex())?;
        Ok(lock)
    }

    /// Waits for the lock. It is released when the guard is dropped or its process ends.
    ///
    /// # Panics
    /// If this process holds it already: it would wait for itself.
    #[track_caller]
    pub fn lock(&self) -> SharedGuard<'_> {
        let holder_died = match lock(self.mutex()) {
            0 => false,
            libc::EOWNERDEAD => {
                // From here on the lock is usable again. The data that it protects may not be.
                let code = consistent(self.mutex());
                assert_eq!(code, 0, "the lock of a dead holder is ours to repair");
                true
            }
            libc::EDEADLK => panic!("this process holds the lock already"),
            code => panic!("no lock: {}", io::Error::from_raw_os_error(code)),
        };
        self.held.set(true);
        SharedGuard { lock: self, holder_died }
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.mutex.values()[0].0.get()
    }
}

impl Drop for SharedLock {
    fn drop(&mut self) {
        // Not destroyed: other processes may still use it, and it owns nothing but its memory.
        if self.held.get() {
            // A guard was forgotten, so the mutex is still in the list of those that the C library
            // releases at the end of this process. So its memory has to stay.
            self.mutex.keep();
        }
    }
}

/// Holds a [`SharedLock`].
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct SharedGuard<'a> {
    lock: &'a SharedLock,
    holder_died: bool,
}

impl SharedGuard<'_> {
    /// Whether the last holder died in the critical section; the lock was poisoned, in the words of
    /// `std::sync::Mutex`. The data that it protects may be half changed. This holder has to repair
    /// it: no later one is told.
    pub fn holder_died(&self) -> bool {
        self.holder_died
    }
}

impl Drop for SharedGuard<'_> {
    fn drop(&mut self) {
        // A process that was forked in the critical section has a copy of the guard, but does not
        // hold the lock: the mutex knows its holder, and refuses.
        unlock(self.lock.mutex());
        self.lock.held.set(false);
    }
}

#[expect(unsafe_code, reason = "std has no lock between processes")]
fn make_shared_and_robust(mutex: *mut libc::pthread_mutex_t) -> io::Result<()> {
    let check = |code| match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    };
    let mut attributes = mem::MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: the attributes are initialized by the first call, used by the others and destroyed by
    // the last. The mutex is valid memory that no other code knows yet.
    unsafe {
        check(libc::pthread_mutexattr_init(attributes))?;
        let result =
            check(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))
                .and_then(|()| {
                    check(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST))
                })
                .and_then(|()| {
                    check(libc::pthread_mutexattr_settype(
                        attributes,
                        libc::PTHREAD_MUTEX_ERRORCHECK,
                    ))
                })
                .and_then(|()| check(libc::pthread_mutex_init(mutex, attributes)));
        libc::pthread_mutexattr_destroy(attributes);
        result
    }
}

#[expect(unsafe_code, reason = "std has no lock between processes")]
fn lock(mutex: *mut libc::pthread_mutex_t) -> i32 {
    // SAFETY: the mutex is initialized, and mapped for as long as its `SharedLock` lives.
    unsafe { libc::pthread_mutex_lock(mutex) }
}

#[expect(unsafe_code, reason = "std has no lock between processes")]
fn consistent(mutex: *mut libc::pthread_mutex_t) -> i32 {
    // SAFETY: as for `lock`.
    unsafe { libc::pthread_mutex_consistent(mutex) }
}

#[expect(unsafe_code, reason = "std has no lock between processes")]
fn unlock(mutex: *mut libc::pthread_mutex_t) {
    // SAFETY: as for `lock`. A mutex that checks for errors refuses an unlock by another process
    // than its holder.
    unsafe { libc::pthread_mutex_unlock(mutex) };
}

/// A point where a number of processes wait until all of them are there
/// (`multiprocessing.Barrier`): made before the fork, and `PTHREAD_PROCESS_SHARED` like the lock.
#[derive(Debug)]
pub struct SharedBarrier(Mapping<Barrier>);

#[derive(Debug)]
#[repr(transparent)]
struct Barrier(std::cell::UnsafeCell<mem::MaybeUninit<libc::pthread_barrier_t>>);

impl SharedBarrier {
    /// # Errors
    /// No memory left; no process to wait for, or more than the C library can count.
    pub fn new(processes: usize) -> io::Result<Self> {
        if processes == 0 || i32::try_from(processes).is_err() {
            let error = format!("no barrier for {processes} processes: from 1 to {}", i32::MAX);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let barrier = Barrier(mem::MaybeUninit::uninit().into());
        let barrier = Self(Mapping::new(vec![barrier])?);
        make_shared_barrier(barrier.barrier(), processes as u32)?;
        Ok(barrier)
    }

    fn barrier(&self) -> *mut libc::pthread_barrier_t {
        self.0.values()[0].0.get().cast()
    }

    /// Waits until as many processes wait as the barrier was made for.
    #[expect(unsafe_code, reason = "std has no barrier between processes")]
    pub fn wait(&self) {
        // SAFETY: the barrier is initialized, and mapped for as long as this lives.
        unsafe { libc::pthread_barrier_wait(self.barrier()) };
    }
}

#[expect(unsafe_code, reason = "std has no barrier between processes")]
fn make_shared_barrier(barrier: *mut libc::pthread_barrier_t, processes: u32) -> io::Result<()> {
    let mut attributes = mem::MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: the attributes are initialized by the first call, used by the others and destroyed by
    // the last; none of these can fail. The barrier is memory that no other code knows yet.
    let code = unsafe {
        libc::pthread_barrierattr_init(attributes);
        libc::pthread_barrierattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED);
        let code = libc::pthread_barrier_init(barrier, attributes, processes);
        libc::pthread_barrierattr_destroy(attributes);
        code
    };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

fn no_memory(errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    match limit(&error) {
        Some(limit) => io::Error::new(error.kind(), format!("no shared memory: {error} ({limit})")),
        None => error,
    }
}

/// Values in anonymous memory that is shared across a fork.
#[derive(Debug)]
struct Mapping<T> {
    start: NonNull<T>,
    len: usize,
    kept: bool,
}

impl<T> Mapping<T> {
    #[expect(unsafe_code, reason = "std has no shared memory")]
    fn new(values: Vec<T>) -> io::Result<Self> {
        // SAFETY: a new mapping touches no memory that is in use.
        let start = unsafe {
            mmap_anonymous(
                None,
                Self::bytes(values.len()),
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
            )
        }
        .map_err(no_memory)?
        .cast::<T>();
        let len = values.len();
        for (n, value) in values.into_iter().enumerate() {
            // SAFETY: inside the mapping, which begins at a page and so is aligned for every type.
            unsafe { start.add(n).write(value) };
        }
        Ok(Self { start, len, kept: false })
    }

    #[expect(unsafe_code, reason = "std has no shared memory")]
    fn values(&self) -> &[T] {
        // SAFETY: `new` has written `len` values there. They are atomics or a mutex, which other
        // processes may change at any time, and are unmapped only when this is dropped.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn keep(&mut self) {
        self.kept = true;
    }

    fn bytes(len: usize) -> NonZeroUsize {
        let bytes = len
            .checked_mul(size_of::<T>())
            .expect("the values were in memory before, so their size fits");
        NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN)
    }
}

impl<T> Drop for Mapping<T> {
    #[expect(unsafe_code, reason = "std has no shared memory")]
    fn drop(&mut self) {
        if !self.kept {
            // SAFETY: mapped by `new` with this length, and no value is borrowed any more. Other
            // processes keep their mapping.
            let _ = unsafe { munmap(self.start.cast(), Self::bytes(self.len).get()) };
        }
    }
}
