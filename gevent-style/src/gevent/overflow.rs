//! A greenlet that overflows its stack ends the program, as an OS thread does. `may` would leave
//! the greenlet where it is and run the others: its locks would stay locked, and its join wait.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use libc::{sigaction, siginfo_t};
use may::coroutine;

/// What the guard page below a stack has room for; code without probes may reach over it.
const NEAR: usize = 64 * 1024;

/// What was there before, for the two signals.
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
        // SAFETY: the handler does what a handler may: it compares, writes and aborts.
        if unsafe { libc::sigaction(signal, &raw const action, old.as_mut_ptr()) } == 0 {
            // SAFETY: the call has filled it in.
            before.get_or_init(|| unsafe { old.assume_init() });
        }
    }
}

#[expect(unsafe_code, reason = "a signal handler")]
unsafe extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands over both, for a handler with SA_SIGINFO.
    let (address, stack) = unsafe { ((*info).si_addr().addr(), stack_pointer(&*context.cast())) };
    if coroutine::is_coroutine() && address.abs_diff(stack) < NEAR {
        let said = b"\na greenlet has overflowed its stack: the program ends\n";
        // SAFETY: `said` is readable for its length; `write` may be called in a handler.
        unsafe { libc::syscall(libc::SYS_write, 2, said.as_ptr(), said.len()) };
        std::process::abort();
    }
    // Something else: the handler before ours has it again, when the instruction is repeated.
    for (other, before) in SIGNALS.iter().zip(&BEFORE) {
        if let (true, Some(before)) = (*other == signal, before.get()) {
            // SAFETY: what `watch` was given by the same call.
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
