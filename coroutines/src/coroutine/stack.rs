//! The stacks that coroutines run on: small, guarded, and reused.

use std::cell::RefCell;
use std::io;

use corosensei::stack::{DefaultStack, Stack, StackPointer};

/// Bytes of stack a coroutine gets. Only the pages it touches cost memory.
pub const STACK: usize = 64 * 1024;

/// Used stacks kept for the next coroutines, so that starting one needs no system call.
const POOL: usize = 1024;

thread_local! {
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// A stack of [`STACK`] bytes that goes back to a pool of its thread.
pub struct PooledStack(Option<DefaultStack>);

impl PooledStack {
    /// # Errors
    ///
    /// The kernel has no stack left: the error names the limit.
    pub fn new() -> io::Result<PooledStack> {
        match STACKS.with_borrow_mut(Vec::pop) {
            Some(stack) => Ok(PooledStack(Some(stack))),
            None => Ok(PooledStack(Some(DefaultStack::new(STACK).map_err(|e| no_stack(&e))?))),
        }
    }

    fn stack(&self) -> &DefaultStack {
        self.0.as_ref().expect("taken in drop only")
    }
}

fn no_stack(error: &io::Error) -> io::Error {
    let limit = "each takes two memory mappings; the kernel's limit is vm.max_map_count";
    io::Error::new(io::ErrorKind::OutOfMemory, format!("no stack is left: {error}; {limit}"))
}

impl Drop for PooledStack {
    fn drop(&mut self) {
        // When a thread ends, its pool is dropped before the last stack.
        let _ = STACKS.try_with(|stacks| {
            let mut stacks = stacks.borrow_mut();
            if stacks.len() < POOL {
                stacks.extend(self.0.take());
            }
        });
    }
}

#[expect(unsafe_code, reason = "corosensei's trait is unsafe to implement")]
// SAFETY: it is a `DefaultStack`, guard page and all. Its memory goes back to the pool or to the
// kernel only after the coroutine that owns it is gone.
unsafe impl Stack for PooledStack {
    fn base(&self) -> StackPointer {
        self.stack().base()
    }

    fn limit(&self) -> StackPointer {
        self.stack().limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_used_again() {
        drop(PooledStack::new().expect("a stack"));
        let before = STACKS.with_borrow(Vec::len);
        assert!(before >= 1);
        let stack = PooledStack::new().expect("a stack");
        assert_eq!(STACKS.with_borrow(Vec::len), before - 1);
        drop(stack);
        assert_eq!(STACKS.with_borrow(Vec::len), before);
    }
}
