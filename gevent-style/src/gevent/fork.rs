//! Is this still the process with the hub? A child of `fork` has a copy of every greenlet, but no
//! thread that could run them, and it shares the epoll set with its parent.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// A page of memory that the kernel fills with zeros in a child of `fork` (madvise(2)).
static OURS: OnceLock<&'static AtomicU8> = OnceLock::new();

/// Part of the start of the hub: marks this process as the one with the hub.
pub fn mark_this_process() {
    OURS.get_or_init(mark);
}

/// Whether the caller is in a child that was forked after the hub was started.
pub fn in_child() -> bool {
    OURS.get().is_some_and(|ours| ours.load(Ordering::Relaxed) == 0)
}

/// Ends a child that waits as if it had a hub.
pub fn refuse_in_child() {
    if in_child() {
        eprintln!("a forked child has no hub: let it call exec or exit, or only real calls");
        std::process::abort();
    }
}

#[expect(unsafe_code, reason = "mmap and madvise")]
fn mark() -> &'static AtomicU8 {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for a new page, which no other code knows and which is never freed.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0) };
    assert!(page != libc::MAP_FAILED, "the hub needs one page of memory");
    // SAFETY: the page is ours. Linux has the advice since 4.14.
    let advised = unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) };
    assert!(advised == 0, "the hub needs Linux 4.14 or later (MADV_WIPEONFORK)");
    // SAFETY: the page is readable and writable, aligned, and stays.
    let ours = unsafe { &*page.cast::<AtomicU8>() };
    ours.store(1, Ordering::Relaxed);
    ours
}
