//! The one OS thread that runs all greenlets: what belongs to this thread belongs to all greenlets.
//! If two of them waited on the same word of it, each would take the other's wake-up.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The address ranges of the worker's `thread_local!`s, one for the program and for each library.
static THREAD_LOCALS: OnceLock<Vec<Range<usize>>> = OnceLock::new();

/// The word on which `thread::park` waits in the worker. It is in memory that std has allocated.
static PARKING_PLACE: AtomicUsize = AtomicUsize::new(0);

thread_local!(static LEARNING: Cell<bool> = const { Cell::new(false) });

/// Part of the start of the hub: runs in the worker.
pub fn learn() {
    THREAD_LOCALS.get_or_init(thread_locals);
    LEARNING.set(true);
    // A token left from an earlier unpark ends the first park before it waits.
    while PARKING_PLACE.load(Ordering::Relaxed) == 0 {
        thread::park_timeout(Duration::from_nanos(1));
    }
    LEARNING.set(false);
}

/// A wait on a word is about to begin in the calling thread.
pub fn note_wait(address: usize) {
    if LEARNING.get() {
        PARKING_PLACE.store(address, Ordering::Relaxed);
    }
}

/// Whether this word belongs to the worker. A wait on it really blocks. `thread::park` is such a
/// wait (`mpsc` and `thread::scope` are built on it); a lock in a `thread_local!`, as in rayon, is
/// another.
pub fn owns(address: usize) -> bool {
    let within = |ranges: &Vec<Range<usize>>| ranges.iter().any(|range| range.contains(&address));
    PARKING_PLACE.load(Ordering::Relaxed) == address || THREAD_LOCALS.get().is_some_and(within)
}

#[expect(unsafe_code, reason = "dl_iterate_phdr")]
fn thread_locals() -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    // SAFETY: `note_module` uses the pointer with its real type.
    unsafe { libc::dl_iterate_phdr(Some(note_module), (&raw mut ranges).cast()) };
    ranges
}

#[expect(unsafe_code, reason = "a callback of dl_iterate_phdr")]
unsafe extern "C" fn note_module(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    ranges: *mut c_void,
) -> c_int {
    // SAFETY: libc passes one module at a time, and the pointer that `thread_locals` gave.
    let (info, ranges) = unsafe { (&*info, &mut *ranges.cast::<Vec<Range<usize>>>()) };
    // SAFETY: the program headers of the module, with their number.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let start = info.dlpi_tls_data.addr();
    if start != 0 {
        let segments = headers.iter().filter(|header| header.p_type == libc::PT_TLS);
        ranges.extend(segments.map(|header| start..start + header.p_memsz as usize));
    }
    0
}
