//! A greenlet that overflows its stack ends the program, like an OS thread. `may` would leave the
//! greenlet in place and run the others: its locks would stay locked, and its join would wait.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use libc::{sigaction, siginfo_t};
use may::coroutine;

/// How far below a stack a fault still counts as an overflow: code without probes may reach beyond
/// the guard page.
const NEAR: usize = 64 * 1024;

/// The previous handlers of the two signals.
static BEFORE: [OnceLock<sigaction>; 2] = [OnceLock::new(), OnceLock::new()];
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Part of the start of the hub, after `may` has set its own handler.
#[expect(unsafe_code, reason = "sigaction")]
pub fn watch() {
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        let mut old = MaybeUninit::uninit();
        // SAFETY: all zero is an action without a mask; the fields that count are set below.
        let mut action: sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = on_fault as *const () as usize;
        // SAFETY: the handler does only what a handler may: it compares, writes and aborts.
        if unsafe { libc::sigaction(signal, &raw const action, old.as_mut_ptr()) } == 0 {
            // SAFETY: the call has filled it in.
            before.get_or_init(|| unsafe { old.assume_init() });
        }
    }
}

#[expect(unsafe_code, reason = "a signal handler")]
unsafe extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (address, stack) = unsafe { ((*info).si_addr().addr(), stack_pointer(&*context.cast())) };
    if coroutine::is_coroutine() && address.abs_diff(stack) < NEAR {
        let said = b"\na greenlet has overflowed its stack: the program ends\n";
        // SAFETY: `said` is readable for its length; `write` may be called in a handler.
        unsafe { libc::syscall(libc::SYS_write, 2, said.as_ptr(), said.len()) };
        std::process::abort();
    }
    // Another fault: the previous handler gets it when the instruction is repeated.
    for (other, before) in SIGNALS.iter().zip(&BEFORE) {
        if let (true, Some(before)) = (*other == signal, before.get()) {
            // SAFETY: `watch` got this value from the same call.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}
